import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Reads a table of Databricks by JDBC: what a user's program does, and what a BI tool asks before.
 *
 * <p>Usage: ReadTable SCHEMA TABLE, with JDBC_URL and DATABRICKS_TOKEN in the environment. Prints lines of fields between tabs,
 * whose first field names what the others are.
 */
public class ReadTable {

  static void print(Object... fields) {
    System.out.println(String.join("\t", Arrays.stream(fields).map(String::valueOf).toList()));
  }

  /** Prints the given columns of each row. */
  static void print(String what, ResultSet rows, String... columns) throws SQLException {
    try (rows) {
      while (rows.next()) {
        Object[] fields = new Object[columns.length + 1];
        fields[0] = what;
        for (int i = 0; i < columns.length; i++) {
          fields[i + 1] = rows.getString(columns[i]);
        }
        print(fields);
      }
    }
  }

  static int count(ResultSet rows) throws SQLException {
    try (rows) {
      int n = 0;
      while (rows.next()) {
        n++;
      }
      return n;
    }
  }

  public static void main(String[] arguments) throws Exception {
    String schema = arguments[0];
    String table = arguments[1];
    Properties properties = new Properties();
    properties.put("UID", "token");
    properties.put("PWD", System.getenv("DATABRICKS_TOKEN"));
    try (Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"), properties)) {
      browse(connection, schema, table);
      read(connection, schema, table);
      prepared(connection);
      large(connection);
      errors(connection);
      cancel(connection);
    }
  }

  /** What DBeaver, DataGrip and other tools show as a tree. */
  static void browse(Connection connection, String schema, String table) throws SQLException {
    DatabaseMetaData metadata = connection.getMetaData();
    print("driver", metadata.getDriverVersion(), "server", metadata.getDatabaseProductName());
    print("catalog", metadata.getCatalogs(), "TABLE_CAT");
    String catalog = "hive_metastore";
    print("schema", metadata.getSchemas(catalog, schema), "TABLE_CATALOG", "TABLE_SCHEM");
    print("table", metadata.getTables(catalog, schema, "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "TABLE_TYPE");
    print(
        "column", metadata.getColumns(catalog, schema, table, "%"), "COLUMN_NAME", "TYPE_NAME", "DATA_TYPE", "COLUMN_SIZE",
        "DECIMAL_DIGITS", "IS_NULLABLE", "ORDINAL_POSITION", "REMARKS");
    print(
        "none",
        count(metadata.getPrimaryKeys(catalog, schema, table)),
        count(metadata.getImportedKeys(catalog, schema, table)),
        count(metadata.getExportedKeys(catalog, schema, table)),
        count(metadata.getFunctions(catalog, schema, "%")),
        count(metadata.getTables("another_catalog", schema, "%", null)));
    print("types", count(metadata.getTypeInfo()) > 0, "table types", count(metadata.getTableTypes()) > 0);
    print("here", connection.getCatalog(), connection.getSchema(), connection.isValid(300));
    connection.setSchema(schema);
    print("then", connection.getSchema());
  }

  /** Every row: the classes of the first one's values, and for each column how many values it has and what they sum up to. */
  static void read(Connection connection, String schema, String table) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("SELECT * FROM " + table + " ORDER BY 1")) {
      ResultSetMetaData columns = rows.getMetaData();
      int width = columns.getColumnCount();
      int[] values = new int[width];
      BigDecimal[] sums = new BigDecimal[width];
      Arrays.fill(sums, BigDecimal.ZERO);
      int n = 0;
      while (rows.next()) {
        for (int i = 0; i < width; i++) {
          Object value = rows.getObject(i + 1);
          if (n == 0) {
            print(
                "value", columns.getColumnLabel(i + 1), columns.getColumnTypeName(i + 1),
                value == null ? null : value.getClass().getName(), value instanceof byte[] b ? Arrays.toString(b) : value);
          }
          values[i] += rows.wasNull() ? 0 : 1;
          if (value instanceof Number number) {
            sums[i] = sums[i].add(new BigDecimal(number.toString()));
          }
        }
        n++;
      }
      print("rows", n);
      for (int i = 0; i < width; i++) {
        print("sum", columns.getColumnLabel(i + 1), values[i], sums[i].stripTrailingZeros().toPlainString());
      }
    }
  }

  static void prepared(Connection connection) throws SQLException {
    String sql =
        "SELECT ? AS text, ? AS amount, ? + 1 AS whole, ? AS big, ? AS half, ? AS yes, ? AS day, ? AS moment, ? AS nothing,"
            + " 'why ?' AS literal /* ? */";
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      statement.setString(1, "it's \\ a \"text\" ü");
      statement.setBigDecimal(2, new BigDecimal("-12.34"));
      statement.setInt(3, 41);
      statement.setLong(4, Long.MIN_VALUE + 1);
      statement.setDouble(5, -0.5);
      statement.setBoolean(6, true);
      statement.setDate(7, Date.valueOf("2024-02-29"));
      statement.setTimestamp(8, Timestamp.valueOf("2024-02-29 12:34:56.789"));
      statement.setNull(9, Types.INTEGER);
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) {
          print("parameter", rows.getMetaData().getColumnLabel(i), rows.getObject(i));
        }
      }
    }
  }

  static void large(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("SELECT id, cast(id as string) AS text FROM range(250000)")) {
      long n = 0;
      long sum = 0;
      long characters = 0;
      while (rows.next()) {
        n++;
        sum += rows.getLong(1);
        characters += rows.getString("text").length();
      }
      print("large", n, sum, characters);
    }
  }

  static void errors(Connection connection) {
    for (String sql : new String[] {"SELECT * FROM no_such_table", "SELECT 1 / 0", "SELECT (1"}) {
      try (Statement statement = connection.createStatement();
          ResultSet rows = statement.executeQuery(sql)) {
        rows.next();
        print("error", sql, "none");
      } catch (SQLException error) {
        print("error", sql, error.getSQLState(), error.getMessage().replace('\t', ' ').lines().findFirst().orElse(""));
      }
    }
  }

  static void cancel(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      AtomicBoolean ended = new AtomicBoolean();
      Thread canceller =
          new Thread(
              () -> {
                // again and again: a driver does nothing, or complains, as long as it has no handle of the statement, over
                // which a busy machine may take long
                for (int wait = 1500; !ended.get(); wait = 300) {
                  try {
                    Thread.sleep(wait);
                    statement.cancel();
                  } catch (InterruptedException | SQLException tooEarly) {
                    continue;
                  }
                }
              });
      canceller.start();
      long start = System.currentTimeMillis();
      try (ResultSet rows = statement.executeQuery("SELECT count(*) FROM range(2000000000000) WHERE id % 7 = 3")) {
        rows.next();
        print("cancelled", "no");
      } catch (SQLException error) {
        print("cancelled", error.getSQLState(), System.currentTimeMillis() - start);
      }
      ended.set(true);
      canceller.join();
    }
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("SELECT 1")) {
      rows.next();
      print("after", rows.getInt(1));
    }
  }
}
