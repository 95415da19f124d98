"""What the DAGs share. A package and no DAG file: .airflowignore keeps Airflow from looking for DAGs in it."""

import os

# Cosmos reads these when it is imported, which is after this file. It would hash every file under the project's folder at each
# parsing, this machine's environment and lakehouse included, and phone its makers.
os.environ.setdefault("AIRFLOW__COSMOS__PROJECT_HASH_EXCLUDED_DIRS", ".venv,.lakehouse,node_modules,__pycache__")
os.environ.setdefault("AIRFLOW__COSMOS__ENABLE_TELEMETRY", "False")
