-- Landed rows that cannot be used, by reason; a row with two reasons counts under both.
select
    table_name,
    reason,
    sum(row_count) as row_count,
    case when table_name = 'invoices' then sum(total_amount_reporting) end as total_amount,
    max(last_loaded_at) as newest_loaded_at
from ${gold}.agg_rejected_rows_reason_day
group by table_name, reason
order by table_name, row_count desc, reason
