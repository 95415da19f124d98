-- One row: the newest load of all tables.
select max(loaded_at) as loaded_at
from ${silver}.row_accounting
