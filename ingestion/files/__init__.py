"""Files as a way in: a drop folder or bucket is loaded into bronze_files. `python -m ingestion.files` runs it."""
