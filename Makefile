# Everything a user does, as verbs: `make help` lists them. Needs Python 3.11 or newer, and nothing else.
SHELL := /bin/sh
.DEFAULT_GOAL := help

export LAKEHOUSE_HOME ?= $(CURDIR)/.lakehouse
export DBT_TARGET ?= local
# Nothing is written outside this clone and one cache folder, and nobody is phoned.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/invoices-countries
export UV_CACHE_DIR := $(CACHE)/uv
export PIP_CACHE_DIR := $(CACHE)/pip
export UV_PYTHON_DOWNLOADS := never
export DO_NOT_TRACK := 1

PY := .venv/bin/python
INSTALLED := .venv/.installed
# Run a program with the variables that clients of the local endpoint need, after starting it; on the target `databricks`
# the variables are the user's own and nothing is started.
ifeq ($(DBT_TARGET),local)
CONNECTED := $(PY) -m local_databricks up && eval "$$($(PY) -m local_databricks env)" &&
endif

# What the selector `watch` has: Elementary's tests of a model take longer than the model, and wait for `make watch`.
WATCHED := tag:elementary-tests tag:watch path:models/observability

.PHONY: help run next-day test stream-demo up down status build metrics watch alerts report demo-incident docs serve reports reports-dev power-bi steep airflow dag-run lint shell clean reset setup

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) ## the whole job: source -> bronze -> silver -> gold -> tests -> summary
	@$(PY) -m ingestion.run

next-day: $(INSTALLED) ## let one business day pass in the demo source
	@$(PY) -m ingestion.demo_source next-day

test: $(INSTALLED) ## every test, ARGS="-k name" for some
	@$(PY) -m pytest $(ARGS)

stream-demo: $(INSTALLED) ## invoices from Kafka to gold within seconds, and how many; ENGINE=sail for the fast engine
	@$(PY) -m local_databricks.packages
	@$(PY) -m ingestion.kafka demo $(ARGS)

up: $(INSTALLED) ## start the local endpoint
	@$(PY) -m local_databricks up

down: ## stop the local endpoint and the demo source; data stays
	@if [ -x $(PY) ]; then $(PY) -m local_databricks down; $(PY) -m ingestion.demo_source down; fi

status: $(INSTALLED) ## tell what runs
	@$(PY) -m local_databricks status || :
	@$(PY) -m ingestion.demo_source status 2>&1 || :

build: $(INSTALLED) ## dbt build, ARGS="-s fct_invoices+" for some models
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) .venv/bin/dbt build $(if $(ARGS),$(ARGS) --exclude $(WATCHED),--selector pipeline)

metrics: $(INSTALLED) ## ask for metrics, ARGS="query --metrics revenue --group-by metric_time__month"
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) $(PY) -m ingestion.metrics $(or $(ARGS),list metrics)

watch: $(INSTALLED) ## look for what is unusual in a day's data, with Elementary
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) $(PY) -m observability watch

alerts: $(INSTALLED) ## send Elementary's new alerts to the routes of DATA_ALERTS
	@$(CONNECTED) $(PY) -m observability alerts

report: $(INSTALLED) ## make Elementary's report and the page of runs
	@$(CONNECTED) $(PY) -m observability report

demo-incident: $(INSTALLED) ## let faults happen at a demo source of its own, and show who finds them
	@$(PY) -m local_databricks.packages
	@$(PY) -m observability demo-incident

docs: $(INSTALLED) ## make the dbt docs site as one file
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) .venv/bin/dbt --quiet docs generate --static
	@echo "Docs: $(LAKEHOUSE_HOME)/dbt/target/static_index.html"

serve: $(INSTALLED) ## revenue pages, dbt docs, Elementary's report and the page of runs at one address, until Ctrl-C
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) exec $(PY) -m serving serve $(ARGS)

reports: $(INSTALLED) ## build the Evidence site, if gold or its pages have changed
	@$(CONNECTED) $(PY) -m serving reports $(ARGS)

reports-dev: $(INSTALLED) ## Evidence's own server over the same data, which shows edited pages at once
	@$(CONNECTED) exec $(PY) -m serving reports-dev

power-bi: $(INSTALLED) ## write powerbi/ from the dbt project, ARGS=--check to compare only
	@$(PY) -m local_databricks.packages
	@$(PY) -m serving power-bi $(ARGS)

steep: $(INSTALLED) ## write deploy/steep/ from the semantic layer
	@$(PY) -m local_databricks.packages
	@$(PY) -m serving steep

airflow: $(INSTALLED) ## Airflow with the DAGs on this machine, until Ctrl-C
	@$(PY) airflow/local.py standalone

dag-run: $(INSTALLED) ## the DAGs ingest, transform and publish without a scheduler, and a table of their tasks
	@$(PY) airflow/local.py run $(ARGS)

lint: $(INSTALLED) ## ruff, yamllint, sqlfluff and the rules of the dbt project
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/yamllint --strict .
	@$(PY) -m local_databricks.packages
	@$(CONNECTED) .venv/bin/sqlfluff lint models tests/dbt
	@$(PY) -m pytest tests/unit/test_project.py

shell: $(INSTALLED) ## a shell in which plain dbt, pytest and python work
	@$(CONNECTED) . .venv/bin/activate && exec $${SHELL:-sh}

clean: ## remove what dbt and the tests made; data stays
	@rm -rf "$(LAKEHOUSE_HOME)/dbt" dbt_packages .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

reset: down clean ## stop everything and remove the lakehouse with all data
	@rm -rf "$(LAKEHOUSE_HOME)"

setup: $(INSTALLED) ## make the environment (the other verbs do it by themselves)

# uv where there is one, else installed into the environment itself. A half-made environment has no stamp and is made anew.
$(INSTALLED): requirements.lock
	@py=; for candidate in "$(PYTHON)" python3.13 python3.12 python3.11 python3 python; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    py=$$("$$candidate" -c 'import sys; print(sys.executable)'); break; fi; done; \
	if [ -z "$$py" ]; then echo "Python 3.11 or newer is needed and none was found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	begin=$$(date +%s); \
	if uv=$$(command -v uv); then "$$uv" venv --quiet --clear --python "$$py" .venv; else \
	  "$$py" -m venv --clear .venv || { echo "$$py cannot make a virtual environment; install its venv module (Debian: python3-venv)." >&2; exit 1; }; \
	  $(PY) -m pip install --quiet --disable-pip-version-check uv || { echo "Packages cannot be downloaded from the Python package index; check the network or proxy." >&2; exit 1; }; \
	  uv=.venv/bin/uv; fi || exit 1; \
	echo "Installing packages into .venv"; \
	"$$uv" pip sync --quiet --compile-bytecode --python $(PY) requirements.lock || { echo "Installing the packages failed (see above); run again when the network, proxy or disk is well." >&2; exit 1; }; \
	touch $(INSTALLED); echo "Environment ready after $$(($$(date +%s) - begin)) s"
