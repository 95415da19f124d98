"""Airflow imports this in each of its processes. Where the scheduler runs tasks (LocalExecutor), each task is its fork:
what it has imported, every task of dbt need not import again (benchmarks/README.md has what that saves).
"""

import gc
import sys

if sys.argv[1:2] == ["scheduler"]:
    import cosmos.operators.local  # noqa: F401
    import dbt.adapters.databricks  # noqa: F401
    import dbt.cli.main  # noqa: F401

    gc.freeze()  # the collector of a task would visit what was imported here, and copy its memory from the scheduler's
