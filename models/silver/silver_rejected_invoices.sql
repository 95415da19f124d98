{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

{%- set columns = [
    "invoice_id", "invoice_number", "customer_id", "country_text", "invoice_date", "due_date", "currency_code", "net_amount",
    "tax_amount", "total_amount", "status", "created_at", "updated_at", "is_deleted", "reasons", "landed_row", "_loader",
    "_load_id", "_loaded_at", "_row_id",
] %}

with

unusable as (

    -- Also of the loads after a late one: its row may take the place of a newer load's, which had outdone a
    -- rejected row.
    select {{ columns | join(", ") }}
    from {{ ref("stg_invoices") }}
    where size(reasons) > 0 and {{ in_unfinished_loads("invoices", and_later=true) }}
    {%- if is_incremental() %}
    union all
    -- What was here stays as long as bronze holds it: some loaders put another row in its place.
    select {{ columns_or_null(this, columns) }}
    from {{ this }}
    where
        _loader in ('{{ loaders_of("invoices", rows="appended") | join("', '") }}')
        {%- set replacing = loaders_of("invoices", rows="replaced") %}
        {%- if replacing %}
        or _row_id in (select _row_id from {{ ref("stg_invoices") }} where _loader in ('{{ replacing | join("', '") }}'))
        {%- endif %}
    {%- endif %}

),

kept as (

    select * from {{ ref("silver_invoices") }}

),

numbered as (

    -- the same row may be delivered again, even by another load; its last delivery counts, as in silver_invoices
    select
        unusable.*,
        row_number() over (partition by _row_id order by _loaded_at desc) as delivery
    from unusable

),

standing as (

    select numbered.*
    from numbered
    left join kept on numbered.invoice_id = kept.invoice_id
    where numbered.delivery = 1 and not coalesce({{ is_outdone("numbered", "kept") }}, false)

)

select {{ columns | join(", ") }} from standing
