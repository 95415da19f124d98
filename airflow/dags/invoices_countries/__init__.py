"""What the DAGs share. A package and no DAG file: .airflowignore keeps Airflow from looking for DAGs in it."""
