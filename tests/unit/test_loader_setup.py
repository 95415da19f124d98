"""What docs/loaders.md and deploy/ tell users to give to Airflow, Airbyte and Databricks: held against what these take."""

import json
import re
import subprocess
import sys
from string import Template

import pytest
import yaml
from airbyte_api import models as airbyte
from databricks.sdk.service.jobs import JobSettings

from ingestion.kafka.settings import VARIABLES
from invoices_countries.loaders import _OPERATORS, goes_on_by_itself, load_bronze
from invoices_countries.settings import VARIABLE, Settings
from tests.conftest import ROOT

DOCS = (ROOT / "docs" / "loaders.md").read_text()
BLOCKS = re.findall(r"^```json\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)
AIRBYTE = {
    "source": airbyte.SourceCreateRequest,
    "destination": airbyte.DestinationCreateRequest,
    "connection": airbyte.ConnectionCreateRequest,
}


@pytest.mark.parametrize("block", BLOCKS)
def test_airflows_variable_as_the_docs_have_it_makes_the_task(monkeypatch, block):
    monkeypatch.setenv(f"AIRFLOW_VAR_{VARIABLE.upper()}", block)
    settings = Settings.read()
    loaders = [loader for loader in settings.loaders if loader in _OPERATORS]
    assert loaders and all(goes_on_by_itself(settings, loader) or load_bronze(settings, loader) for loader in loaders)


def test_every_loader_that_runs_a_job_has_such_a_block():
    found = {name for block in BLOCKS for name in Settings(**json.loads(block)).loaders}
    assert set(_OPERATORS) <= found


@pytest.mark.parametrize("name", AIRBYTE)
def test_airbytes_own_models_take_the_requests(name):
    """Each property: the models ignore what they do not know, so what they understood is compared with what was written."""
    text = (ROOT / "deploy" / "airbyte" / f"{name}.json").read_text()
    names = Template(text).get_identifiers()
    body = json.loads(Template(text).substitute({each: "00000000-0000-0000-0000-000000000000" for each in names}))
    understood = json.loads(AIRBYTE[name].model_validate(body).model_dump_json(by_alias=True, exclude_unset=True))
    assert understood == body
    if name == "connection":
        assert {each["name"] for each in body["configurations"]["streams"]} == {"invoices", "countries"}
        assert body["namespaceFormat"] == "bronze_airbyte"


def job(target: str) -> dict:
    """The job of the bundle as a target deploys it; an override is laid over the job, key by key."""
    text = (ROOT / "deploy" / "kafka" / "databricks.yml").read_text()
    bundle = yaml.safe_load(text)
    chosen = bundle["targets"][target]
    used = set(re.findall(r"\$\{var\.(\w+)\}", text))
    assert used == set(bundle["variables"]), "a variable is used that is not there, or is there and not used"
    settings = bundle["resources"]["jobs"]["kafka_to_bronze"]
    settings |= chosen.get("resources", {}).get("jobs", {}).get("kafka_to_bronze", {})
    return json.loads(json.dumps(settings).replace("${var.variant}", chosen["variables"]["variant"]))


@pytest.mark.parametrize("target", ["available_now", "continuous"])
def test_the_databricks_job_is_one_that_databricks_knows(target):
    settings = job(target)
    del settings["permissions"]  # a bundle's own; the API of jobs has another call for it
    assert JobSettings.from_dict(settings).as_dict() == settings
    assert settings["max_concurrent_runs"] == 1 and ("continuous" in settings) == (target == "continuous")
    (task,) = settings["tasks"]
    variables = set(task["new_cluster"]["spark_env_vars"])
    assert {name for name in variables if name.startswith("KAFKA_")} <= set(VARIABLES)
    program = task["spark_python_task"]["python_file"]
    arguments = [str(ROOT), task["spark_python_task"]["parameters"][1]]
    # from another folder and without the brokers: it finds the package, takes the variant, and says what it lacks
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "kafka" / program), *arguments],
        cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "KAFKA_BOOTSTRAP_SERVERS is not set" in done.stderr
