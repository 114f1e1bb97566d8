"""Stages as processes: catch signals, read the command line, then import `latentwire.pipeline` and call it.

Stage name = module here and there = key in `params.yaml` = folder under `results/`. The import stands inside `main` so
that a signal which comes while torch is imported is caught, and `--help` answers at once.
"""
