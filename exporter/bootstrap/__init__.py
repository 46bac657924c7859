"""The folder that `pool-exporter run` puts in front of PYTHONPATH. Nothing here is imported by the package itself."""
