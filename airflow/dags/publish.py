"""Airflow DAG `publish`: what readers see is brought up to date once gold is: Power BI, dbt docs, Evidence, Elementary."""

from airflow.sdk import DAG

from invoices_countries import elementary
from invoices_countries.dbt import dbt_docs
from invoices_countries.defaults import dag_arguments
from invoices_countries.settings import GOLD, Settings

settings = Settings.read()

with DAG("publish", schedule=[GOLD], tags=["invoices", "bi"], **dag_arguments(settings, __doc__)):
    dbt_docs(settings)
    if elementary.is_on():
        elementary.elementary_report(settings)
    if settings.evidence_site:
        from invoices_countries.evidence import evidence_site

        evidence_site(settings)
    if settings.power_bi:
        from invoices_countries.power_bi import refresh_power_bi

        refresh_power_bi(settings)
