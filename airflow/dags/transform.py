"""Airflow DAG `transform`: bronze becomes tested silver and gold, a task a dbt node, as soon as bronze has something new; and
Elementary looks whether all of it is as usual, and tells whom it concerns.
"""

from airflow.sdk import DAG, Param, task

from invoices_countries import elementary
from invoices_countries.dbt import dbt_tasks
from invoices_countries.defaults import dag_arguments
from invoices_countries.settings import BRONZE, GOLD, Settings

settings = Settings.read()

with DAG(
    "transform",
    schedule=[BRONZE],
    tags=["invoices", "dbt", "silver", "gold"],
    params={"full_refresh": Param(False, type="boolean", description="build silver and gold anew from all of bronze")},
    **dag_arguments(settings, __doc__, deadline=True),
):

    @task(outlets=[GOLD])
    def gold_is_ready() -> None:
        """Tell readers; reached only where every model and test of the run is well."""

    elementary.alert_routes(settings)  # wrong ones are told when the DAG is read
    built = dbt_tasks(settings)
    built >> gold_is_ready()
    if elementary.is_on():
        # beside gold_is_ready, so that readers need not wait for it
        elementary.elementary_tables(settings) >> built >> elementary.watch(settings) >> elementary.data_alerts(settings)
