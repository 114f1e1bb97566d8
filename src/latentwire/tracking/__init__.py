"""The journals mirrored into MLflow, statistics, system metrics: no result depends on any of it."""
