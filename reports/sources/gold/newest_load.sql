-- One row: the newest load of all tables.
select max(loaded_at) as loaded_at
from ${gold}.agg_landed_rows_load
