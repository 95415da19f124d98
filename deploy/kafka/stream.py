"""What the Databricks job runs: `stream.py ROOT available-now|continuous`, ROOT the folder that holds the package ingestion."""

import sys

root, variant = sys.argv[1:]
sys.path.insert(0, root)

from ingestion.kafka.__main__ import main  # noqa: E402  (a job's cluster has the files, not the package)

ARGUMENTS = {"available-now": ["stream", "--available-now"], "continuous": ["stream"]}
# Only a failure exits: Databricks takes any SystemExit of a Python task for one.
if code := main(ARGUMENTS[variant]):
    sys.exit(code)
