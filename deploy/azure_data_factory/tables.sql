-- The tables that the pipeline load_bronze fills. Run once, in the catalog of the project:
-- bronze tables (what the source said, as text, which silver casts), what a run has copied, and the keys of the source now.
create schema if not exists bronze_azure_data_factory;

create table if not exists bronze_azure_data_factory.countries (
    country_code string,
    country_name string,
    region string,
    sub_region string,
    currency_code string,
    updated_at string,
    _adf_run_id string,
    _adf_loaded_at timestamp,
    _is_deleted boolean
) using delta;

create table if not exists bronze_azure_data_factory.landing_countries (
    country_code string,
    country_name string,
    region string,
    sub_region string,
    currency_code string,
    updated_at string,
    _adf_run_id string,
    _adf_loaded_at string,
    _is_deleted string
) using delta;

create table if not exists bronze_azure_data_factory.keys_countries (
    country_code string
) using delta;

create table if not exists bronze_azure_data_factory.invoices (
    invoice_id string,
    invoice_number string,
    customer_id string,
    country string,
    invoice_date string,
    due_date string,
    currency_code string,
    net_amount string,
    tax_amount string,
    total_amount string,
    status string,
    created_at string,
    updated_at string,
    _adf_run_id string,
    _adf_loaded_at timestamp,
    _is_deleted boolean
) using delta;

create table if not exists bronze_azure_data_factory.landing_invoices (
    invoice_id string,
    invoice_number string,
    customer_id string,
    country string,
    invoice_date string,
    due_date string,
    currency_code string,
    net_amount string,
    tax_amount string,
    total_amount string,
    status string,
    created_at string,
    updated_at string,
    _adf_run_id string,
    _adf_loaded_at string,
    _is_deleted string
) using delta;

create table if not exists bronze_azure_data_factory.keys_invoices (
    invoice_id string
) using delta;
