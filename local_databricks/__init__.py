"""A Databricks workspace on a laptop: what LocalStack is to AWS.

The SQL protocol of Databricks (Thrift over HTTPS) and its command execution API in front, Apache Spark + Delta behind, so
that unmodified clients (dbt-databricks, databricks-sql-connector) run here what they run in production.

    python -m local_databricks up | down | status | env | sql "select 1"

`settings` says where things are, `tls` makes the certificates, `spark` runs the JVM, `sql_service` speaks Thrift,
`commands` runs Python models, `server` is the HTTPS front that joins them, `lifecycle` starts and stops it all.
"""
