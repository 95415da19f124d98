// Reads a table of Databricks with @databricks/sql: what a user's program does, and what a tool asks before.
//
// Usage: node read_table.js SCHEMA TABLE, with DATABRICKS_HOST (host:port), DATABRICKS_HTTP_PATH and DATABRICKS_TOKEN in the
// environment, and the server's CA in NODE_EXTRA_CA_CERTS or, as a file's name, in CA_FILE. Prints one JSON object.
const { readFileSync } = require("node:fs");
const { DBSQLClient, DBSQLLogger, DBSQLParameter, DBSQLParameterType, LogLevel } = require("@databricks/sql");

async function rows(operation) {
  const result = await operation.fetchAll();
  await operation.close();
  return result;
}

async function failure(session, sql) {
  try {
    await rows(await session.executeStatement(sql));
    return null;
  } catch (error) {
    return { message: error.message, state: error.response?.sqlState };
  }
}

async function main([schema, table]) {
  const [host, port] = process.env.DATABRICKS_HOST.split(":");
  const client = new DBSQLClient({ logger: new DBSQLLogger({ level: LogLevel.error }) });
  await client.connect({
    host,
    port: Number(port),
    path: `/${process.env.DATABRICKS_HTTP_PATH}`,
    token: process.env.DATABRICKS_TOKEN,
    customCaCert: process.env.CA_FILE && readFileSync(process.env.CA_FILE),
    telemetryEnabled: false,
  });
  const session = await client.openSession({ initialCatalog: "hive_metastore", initialSchema: schema });
  const catalogName = "hive_metastore";
  const found = {
    server: [(await session.getInfo(17)).getValue(), (await session.getInfo(18)).getValue()],
    catalogs: await rows(await session.getCatalogs()),
    schemas: await rows(await session.getSchemas({ catalogName, schemaName: schema })),
    tables: await rows(await session.getTables({ catalogName, schemaName: schema })),
    columns: await rows(await session.getColumns({ catalogName, schemaName: schema, tableName: table })),
    tableTypes: await rows(await session.getTableTypes()),
    typeInfo: await rows(await session.getTypeInfo()),
    functions: await rows(await session.getFunctions({ functionName: "%" })),
    primaryKeys: await rows(await session.getPrimaryKeys({ schemaName: schema, tableName: table })),
  };

  const all = await rows(await session.executeStatement(`SELECT * FROM ${table} ORDER BY 1`));
  found.rows = all.length;
  found.first = all[0];
  found.classes = Object.fromEntries(Object.entries(all[0]).map(([name, value]) => [name, value?.constructor.name]));
  found.values = {};
  for (const name of Object.keys(all[0])) {
    found.values[name] = all.filter((row) => row[name] !== null).length;
  }

  const namedParameters = {
    text: "it's \\ a \"text\" ü",
    whole: 41,
    half: -0.5,
    yes: true,
    big: -9223372036854775807n,
    day: new DBSQLParameter({ type: DBSQLParameterType.DATE, value: "2024-02-29" }),
    moment: new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 789)),
    nothing: null,
  };
  const named = "SELECT :text AS text, :whole + 1 AS whole, :half AS half, :yes AS yes, cast(:big AS string) AS big, :day AS day,"
    + " :moment AS moment, :nothing AS nothing, 'why :text' AS literal /* :text */";
  [found.named] = await rows(await session.executeStatement(named, { namedParameters }));
  const ordinal = "SELECT ? AS text, ? + 1 AS whole";
  [found.ordinal] = await rows(await session.executeStatement(ordinal, { ordinalParameters: ["x", 41] }));

  const large = await session.executeStatement("SELECT id, cast(id AS string) AS text FROM range(250000)");
  found.large = { rows: 0, sum: 0, characters: 0, chunks: 0 };
  do {
    for (const row of await large.fetchChunk({ maxRows: 50_000 })) {
      found.large.rows += 1;
      found.large.sum += row.id;
      found.large.characters += row.text.length;
    }
    found.large.chunks += 1;
  } while (await large.hasMoreRows());
  await large.close();

  found.errors = {
    table: await failure(session, "SELECT * FROM no_such_table"),
    division: await failure(session, "SELECT 1 / 0"),
    syntax: await failure(session, "SELECT (1"),
  };

  const slow = await session.executeStatement("SELECT count(*) FROM range(2000000000000) WHERE id % 7 = 3");
  setTimeout(() => slow.cancel(), 1000);
  found.cancelled = await slow.fetchAll().then(() => null, (error) => error.message);

  await session.close();
  await client.close();
  console.log(JSON.stringify(found));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
