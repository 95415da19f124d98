{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="invoice_id",
        partition_by="invoice_month",
        on_schema_change="append_new_columns",
        matched_condition=row_version("DBT_INTERNAL_SOURCE") ~ " > " ~ row_version("DBT_INTERNAL_DEST"),
    )
}}

with

usable as (

    select * from {{ ref("stg_invoices") }}
    where size(reasons) = 0 and {{ in_unfinished_loads("invoices") }}

),

numbered as (

    select
        usable.*,
        row_number() over (partition by invoice_id order by {{ row_version("usable") }} desc) as version_rank
    from usable

)

select
    invoice_id,
    invoice_number,
    customer_id,
    country_text,
    invoice_date,
    due_date,
    invoice_month,
    currency_code,
    net_amount,
    tax_amount,
    total_amount,
    status,
    created_at,
    updated_at,
    is_deleted,
    _loader,
    _load_id,
    _loaded_at,
    _row_id
from numbered
where version_rank = 1
