-- Bronze invoices, typed and checked but not yet deduplicated: silver_invoices keeps the rows without `reasons`,
-- silver_rejected_invoices those with some, so that the two cannot disagree.
{%- set contract = bronze_contract("invoices") %}
{%- set amounts = ["net_amount", "tax_amount", "total_amount"] %}

with

landed as (

    {{ landed("invoices") }}

),

told as (

    {{ told("invoices") }}

),

typed as (

    select
        try_cast(invoice_id as bigint) as invoice_id,
        nullif(trim(invoice_number), '') as invoice_number,
        nullif(trim(customer_id), '') as customer_id,
        country as country_text,
        try_cast(invoice_date as date) as invoice_date,
        try_cast(due_date as date) as due_date,
        cast(date_trunc('month', try_cast(invoice_date as date)) as date) as invoice_month,
        nullif(upper(trim(currency_code)), '') as currency_code,
        try_cast(net_amount as decimal(18, 2)) as net_amount,
        try_cast(tax_amount as decimal(18, 2)) as tax_amount,
        try_cast(total_amount as decimal(18, 2)) as total_amount,
        case
            when lower(trim(status)) in ('draft', 'open', 'paid', 'overdue', 'cancelled', 'credit_note')
                then lower(trim(status))
            else 'unknown'
        end as status,
        try_cast(created_at as timestamp) as created_at,
        -- The deletion of an invoice that was dated in the future carries that date; it must not win for ever.
        case
            when _is_deleted and try_cast(updated_at as timestamp) > _loaded_at + interval 1 day
                then _loaded_at + interval 1 day
            else try_cast(updated_at as timestamp)
        end as updated_at,
        _is_deleted as is_deleted,
        {{ is_missing("invoice_id") }} as has_no_key,
        {{ is_missing("updated_at") }} as has_no_time,
        not _is_deleted
        and {{ is_missing("invoice_date") }} as has_no_date,
        not _is_deleted
        and (
            {%- for amount in amounts %}
            {{ "or " if not loop.first }}{{ is_missing(amount) }}
            {%- endfor %}
        ) as has_no_amount,
        (
            false
            {%- for column, type in contract["columns"].items() %}
            or {{ "not _is_deleted and " if column not in contract["deletion_needs"] }}{{ does_not_fit(column, type) }}
            {%- endfor %}
        ) as has_misfit,
        {{ line_does_not_fit() }} as is_no_row,
        landed_row,
        _loader,
        _load_id,
        _loaded_at,
        _row_id
    from told

),

currencies as (

    select currency_code from {{ ref("iso_currencies") }}

),

joined as (

    select
        typed.*,
        currencies.currency_code is not null as is_known_currency
    from typed
    left join currencies on typed.currency_code = currencies.currency_code

),

checked as (

    select
        * except (has_no_key, has_no_time, has_no_date, has_no_amount, has_misfit, is_no_row, is_known_currency),
        array_compact(if(is_no_row, array('line_does_not_fit'), array(
            case when has_no_key then 'missing_invoice_id' end,
            case when has_no_time then 'missing_updated_at' end,
            case when has_no_date then 'missing_invoice_date' end,
            case when has_no_amount then 'missing_amount' end,
            case when has_misfit then 'value_does_not_fit_type' end,
            case when updated_at > _loaded_at + interval 1 day then 'updated_at_in_future' end,
            case
                when
                    not is_deleted
                    and (
                        invoice_date < date '{{ var("first_date") }}'
                        or invoice_date > date_add(to_date(_loaded_at), 366)
                    )
                    then 'invoice_date_out_of_range'
            end,
            case
                when not is_deleted and abs(net_amount + tax_amount - total_amount) > 0.01 then 'amounts_do_not_add_up'
            end,
            case when not is_deleted and currency_code is null then 'missing_currency' end,
            case
                when not is_deleted and currency_code is not null and not is_known_currency
                    then 'unknown_currency'
            end
        ))) as reasons
    from joined

)

select * from checked
