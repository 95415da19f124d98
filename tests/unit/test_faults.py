"""Which faults are tried again, and after how long; and what is said of settings that cannot be."""

import json
import random

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from ingestion.settings import IngestionError, PassingError
from invoices_countries import faults
from invoices_countries.settings import Settings, SettingsError


def dbt_error(text: str) -> Exception:
    from cosmos.exceptions import CosmosDbtRunError

    return CosmosDbtRunError(f"dbt invocation completed with errors: {text}")


PASSING = [
    ConnectionResetError("peer"),
    TimeoutError(),
    PassingError("another load is running: process 1"),
    dbt_error("fct_invoices: Database Error\n  HTTPSConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url"),
    dbt_error("fct_invoices: Database Error\n  [DELTA_CONCURRENT_APPEND] ConcurrentAppendException. SQLSTATE: 2D521"),
    dbt_error("fct_invoices: Database Error\n  Error during request to server: Invalid SessionHandle"),
    dbt_error("a: Runtime Error\n  Cluster 0923-1 is in unexpected state Terminating"),
    dbt_error("a: Database Error\n  something of the server (SQLSTATE: 08S01)"),
]
LASTING = [
    SettingsError("The Airflow variable invoices_countries is no JSON."),
    IngestionError("the source has no table invoices"),
    dbt_error("not_null_fct_invoices_invoice_id: Got 3 results, configured to fail if != 0"),
    # the rows of a test may hold any text
    dbt_error("unique_x: Got 1 result, configured to fail if != 0\n connection refused"),
    dbt_error("fct_invoices: Compilation Error\n  This model has an enforced contract that failed."),
    dbt_error("fct_invoices: Database Error\n  [UNRESOLVED_COLUMN.WITH_SUGGESTION] A column … SQLSTATE: 42703"),
    KeyError("x"),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_passes_is_tried_again(error):
    assert faults.PassingFaults(60).evaluate(error, 1, 3).action is RetryAction.RETRY


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_what_stays_wrong_fails_at_once(error):
    assert faults.PassingFaults(60).evaluate(error, 1, 3).action is RetryAction.FAIL


def test_a_cause_behind_the_error_counts():
    try:
        try:
            raise PassingError("the source does not answer")
        except PassingError as cause:
            raise RuntimeError("the task failed") from cause
    except RuntimeError as error:
        assert faults.passes(error) is True
    assert faults.passes(RuntimeError("nobody has seen this")) is None


def test_the_delay_doubles_up_to_its_limit_and_is_jittered():
    random.seed(1)
    policy = faults.PassingFaults(60)
    for number, longest in enumerate((60, 120, 240, 480, 900, 900), start=1):
        delays = [policy.evaluate(TimeoutError(), number, 9).retry_delay.total_seconds() for _ in range(50)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
        assert len(set(delays)) == 50


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("{", "The Airflow variable invoices_countries is no JSON"),
        ("[]", "must be a JSON object"),
        ({"lodaer": "dlt"}, "has no key 'lodaer'"),
        ({"loader": "dtl"}, "invoices_countries.loader must be one of dlt,"),
        ({"loader": ["dlt", {}]}, "invoices_countries.loader must be one of dlt,"),
        ({"loader": []}, "invoices_countries.loader names none"),
        ({"loader": {"invoices": "dlt"}}, "invoices_countries.loader must name loaders of invoices and of countries"),
        ({"retries": "many"}, 'invoices_countries.retries must be like 3, not "many"'),
        ({"retries": True}, "invoices_countries.retries must be like 3, not true"),
        ({"target": "prod"}, "invoices_countries.target must be one of local, databricks"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, value, sentence):
    monkeypatch.setenv("AIRFLOW_VAR_INVOICES_COUNTRIES", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(SettingsError, match=".") as told:
        Settings.read()
    assert sentence in str(told.value) and "\n" not in str(told.value)
