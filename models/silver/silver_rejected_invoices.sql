{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="_row_id",
        skip_matched_step=true,
        on_schema_change="append_new_columns",
    )
}}

with

unusable as (

    select * from {{ ref("stg_invoices") }}
    where size(reasons) > 0 and {{ in_unfinished_loads("invoices", "invoice_id") }}

),

numbered as (

    -- the same delivery of a row can land twice; the two are equal
    select
        unusable.*,
        row_number() over (partition by _row_id order by _loaded_at) as delivery
    from unusable

)

select
    invoice_id,
    invoice_number,
    customer_id,
    country_text,
    invoice_date,
    due_date,
    currency_code,
    net_amount,
    tax_amount,
    total_amount,
    status,
    created_at,
    updated_at,
    is_deleted,
    reasons,
    landed_row,
    _loader,
    _load_id,
    _loaded_at,
    _row_id
from numbered
where delivery = 1
