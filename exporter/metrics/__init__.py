"""The tables: what each metric is called, means and reads. One row a metric."""
