"""The journals mirrored into MLflow, system metrics, progress, logging: no result depends on any of it."""
