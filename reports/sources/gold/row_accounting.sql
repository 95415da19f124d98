-- Where every landed row went.
select
    table_name,
    outcome,
    sum(row_count) as row_count
from ${silver}.row_accounting
group by table_name, outcome
order by table_name, outcome
