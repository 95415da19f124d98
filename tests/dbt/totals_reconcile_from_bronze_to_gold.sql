-- The live invoices' count and total by currency are the same in bronze (the landed values of the rows that silver
-- kept), in silver and in gold's facts; and the facts' total in the reporting currency is the aggregate's.
with

kept as (

    select
        _row_id,
        currency_code,
        total_amount,
        -- bronze must hold them: their loader replaces no rows
        _loader in ('{{ loaders_of("invoices", rows="appended") | join("', '") }}') as is_in_bronze
    from {{ ref("silver_invoices") }}
    where not is_deleted

),

landed as (

    {{ landed("invoices", columns=["currency_code", "total_amount"]) }}

),

held as (

    -- a delivery that landed twice counts once
    select
        landed._row_id,
        upper(trim(max(landed.currency_code))) as currency_code,
        cast(max(landed.total_amount) as decimal(18, 2)) as total_amount
    from landed
    left semi join kept on landed._row_id = kept._row_id
    group by landed._row_id

),

bronze as (

    select
        currency_code,
        total_amount
    from held
    union all
    select
        kept.currency_code,
        kept.total_amount
    from kept
    left anti join held on kept._row_id = held._row_id
    where not kept.is_in_bronze

),

layers as (

    select
        'bronze' as layer,
        currency_code,
        total_amount
    from bronze
    union all
    select
        'silver' as layer,
        currency_code,
        total_amount
    from {{ ref("silver_invoices") }}
    where not is_deleted
    union all
    select
        'gold' as layer,
        currency_code,
        total_amount
    from {{ ref("fct_invoices") }}

),

totals as (

    select
        currency_code,
        count_if(layer = 'bronze') as bronze_count,
        count_if(layer = 'silver') as silver_count,
        count_if(layer = 'gold') as gold_count,
        sum(total_amount) filter (where layer = 'bronze') as bronze_total,
        sum(total_amount) filter (where layer = 'silver') as silver_total,
        sum(total_amount) filter (where layer = 'gold') as gold_total
    from layers
    group by currency_code

),

facts as (

    select coalesce(sum(total_amount_reporting), 0) as facts_total from {{ ref("fct_invoices") }}

),

aggregate as (

    select coalesce(sum(total_amount_reporting), 0) as aggregate_total from {{ ref("agg_invoices_country_month") }}

)

select
    currency_code,
    to_json(struct(*)) as difference
from totals
where
    bronze_count <> silver_count
    or silver_count <> gold_count
    or not (bronze_total <=> silver_total)
    or not (silver_total <=> gold_total)
union all
select
    '{{ var("reporting_currency") }}' as currency_code,
    to_json(struct(facts.facts_total, aggregate.aggregate_total)) as difference
from facts
cross join aggregate
where facts.facts_total <> aggregate.aggregate_total
