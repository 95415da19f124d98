"""Airflow DAG `publish`: what readers see is brought up to date once gold is: the Power BI model, the dbt docs site."""

from airflow.sdk import DAG

from invoices_countries.dbt import dbt_docs
from invoices_countries.defaults import dag_arguments
from invoices_countries.settings import GOLD, Settings

settings = Settings.read()

with DAG("publish", schedule=[GOLD], tags=["invoices", "bi"], **dag_arguments(settings, __doc__)):
    dbt_docs(settings)
    if settings.power_bi:
        from invoices_countries.power_bi import refresh_power_bi

        refresh_power_bi(settings)
