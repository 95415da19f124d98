-- Where every landed row went.
select
    table_name,
    sum(landed_count) as landed,
    sum(accepted_count) as accepted,
    sum(superseded_count) as superseded,
    sum(rejected_count) as rejected,
    sum(unaccounted_count) as unaccounted
from ${gold}.agg_landed_rows_load
group by table_name
order by table_name
