-- The masks of customer data. Run after roles.sql by the catalog's owner, who stays their owner and may read the secret
-- `pseudonym_key` of the scope `invoices_countries`. Parameter: catalog. dbt puts them on the columns (README.md).

USE CATALOG IDENTIFIER(:catalog);

-- The key of the pseudonyms. Without it they could be guessed: customers' keys are few and regular, and a plain hash of each is
-- made in seconds. Nobody is granted this table: the function below reads it with its owner's rights.
CREATE TABLE IF NOT EXISTS governance.pseudonym_key (
    key STRING NOT NULL COMMENT 'Secret; another one gives every customer another pseudonym.'
) COMMENT 'One row: the key of governance.customer_pseudonym.';

INSERT INTO governance.pseudonym_key
SELECT secret('invoices_countries', 'pseudonym_key')
WHERE NOT EXISTS (SELECT 1 FROM governance.pseudonym_key);

-- For gold: the same customer has the same pseudonym in every table and on every day, so that joins and counts stay right.
CREATE OR REPLACE FUNCTION governance.customer_pseudonym(customer STRING) RETURNS STRING
COMMENT 'A customer''s key for members of customer_data_readers, a stable pseudonym for everybody else.'
RETURN CASE
    WHEN is_account_group_member('customer_data_readers') THEN customer
    WHEN customer IS NULL OR customer = 'unknown' THEN customer
    ELSE concat('~', left(sha2(concat((SELECT max(key) FROM governance.pseudonym_key), ':', customer), 256), 20))
END;

-- For silver, which is merged into: Databricks refuses MERGE into a table whose mask has a subquery.
CREATE OR REPLACE FUNCTION governance.customer_or_null(customer STRING) RETURNS STRING
COMMENT 'A customer''s key, or a text that holds one, for members of customer_data_readers, null for everybody else.'
RETURN CASE WHEN is_account_group_member('customer_data_readers') THEN customer END;
