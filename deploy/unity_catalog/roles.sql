-- Who may read what, by schema. Run by the catalog's owner, at the first deployment and after each change; README.md beside
-- this file says what each group is. Parameter: catalog. SELECT on gold's tables and on silver.country_review is dbt's to grant,
-- at every run (DATABRICKS_READERS, DATABRICKS_STEWARDS): dbt takes back what it finds granted on a table otherwise.
-- Another loader than dlt lands in a schema of its own, such as bronze_airbyte: for each in use, the three lines on bronze again.

USE CATALOG IDENTIFIER(:catalog);

CREATE SCHEMA IF NOT EXISTS bronze COMMENT 'What the source said, untouched.';
CREATE SCHEMA IF NOT EXISTS silver COMMENT 'One row per invoice and country; every rejected row with its reasons.';
CREATE SCHEMA IF NOT EXISTS gold COMMENT 'Facts, dimensions and aggregates for everybody.';
CREATE SCHEMA IF NOT EXISTS observability COMMENT 'What each run took and wrote.';
CREATE SCHEMA IF NOT EXISTS elementary COMMENT 'Results of the tests, with samples of failing rows.';
CREATE SCHEMA IF NOT EXISTS test_failures COMMENT 'The failing rows of tests that ask a person to look.';
CREATE SCHEMA IF NOT EXISTS governance COMMENT 'Masks of customer data.';

-- Databricks documents no IDENTIFIER(:catalog) in GRANT, but EXECUTE IMMEDIATE in its place
-- (sql-ref-names-identifier-clause). All other names are of the current catalog.

-- The principals that load and build: they own what they make.
EXECUTE IMMEDIATE 'GRANT USE CATALOG ON CATALOG `' || :catalog || '` TO `data_platform`';
GRANT USE SCHEMA, CREATE TABLE, CREATE VOLUME, SELECT, MODIFY ON SCHEMA bronze TO `data_platform`;
GRANT USE SCHEMA, CREATE TABLE, SELECT, MODIFY ON SCHEMA silver TO `data_platform`;
GRANT USE SCHEMA, CREATE TABLE, SELECT, MODIFY ON SCHEMA gold TO `data_platform`;
GRANT USE SCHEMA, CREATE TABLE, SELECT, MODIFY ON SCHEMA observability TO `data_platform`;
GRANT USE SCHEMA, CREATE TABLE, SELECT, MODIFY ON SCHEMA elementary TO `data_platform`;
GRANT USE SCHEMA, CREATE TABLE, SELECT, MODIFY ON SCHEMA test_failures TO `data_platform`;
GRANT USE SCHEMA, EXECUTE ON SCHEMA governance TO `data_platform`;

-- Gold, table by table as dbt grants it.
EXECUTE IMMEDIATE 'GRANT USE CATALOG ON CATALOG `' || :catalog || '` TO `analysts`';
GRANT USE SCHEMA ON SCHEMA gold TO `analysts`;
EXECUTE IMMEDIATE 'GRANT USE CATALOG ON CATALOG `' || :catalog || '` TO `bi_readers`';
GRANT USE SCHEMA ON SCHEMA gold TO `bi_readers`;

-- silver.country_review, besides gold.
EXECUTE IMMEDIATE 'GRANT USE CATALOG ON CATALOG `' || :catalog || '` TO `country_stewards`';
GRANT USE SCHEMA ON SCHEMA gold TO `country_stewards`;
GRANT USE SCHEMA ON SCHEMA silver TO `country_stewards`;

-- Everything, to read. Bronze and the failing rows have customers unmasked: who is in this group may see them.
EXECUTE IMMEDIATE 'GRANT USE CATALOG ON CATALOG `' || :catalog || '` TO `data_engineers`';
GRANT USE SCHEMA, SELECT ON SCHEMA bronze TO `data_engineers`;
GRANT USE SCHEMA, SELECT ON SCHEMA silver TO `data_engineers`;
GRANT USE SCHEMA, SELECT ON SCHEMA gold TO `data_engineers`;
GRANT USE SCHEMA, SELECT ON SCHEMA observability TO `data_engineers`;
GRANT USE SCHEMA, SELECT ON SCHEMA elementary TO `data_engineers`;
GRANT USE SCHEMA, SELECT ON SCHEMA test_failures TO `data_engineers`;
