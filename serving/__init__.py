"""What readers open: the Evidence site of `reports/`, made here and served with the dbt docs and Elementary's report."""
