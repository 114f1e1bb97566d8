"""Every environment variable that `latentwire` reads or sets, and nothing else touches os.environ."""

from __future__ import annotations

import os

# What MLflow is told before its first import; a value that the user has set wins.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no usage data leaves the machine
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its records go through our one handler
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror retries itself; a POST sent twice makes two runs
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; MLflow's 120 would outlast the end of a run
}


def mlflow_tracking_uri() -> str | None:
    """MLFLOW_TRACKING_URI: the MLflow store or server; None means mlflow.db in the repository root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def set_mlflow_defaults() -> None:
    """Set MLFLOW_DEFAULTS where the user has not; called once, right before MLflow is imported."""
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)


def set_torch_defaults() -> None:
    """Set what torch's libraries read at their start, where the user has not; called before torch is imported.

    GOMP_SPINCOUNT: OpenMP's threads spin while they wait for each other. On a machine that anything else uses, one
    thread that is not scheduled makes the others burn their time, and a step of one second takes ten; not spinning at
    all costs half as much again on an idle machine. A short spin has neither, and bits do not depend on it.
    CUBLAS_WORKSPACE_CONFIG: without it cuBLAS is not deterministic, and torch refuses to use it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def use_tracking_uri(uri: str) -> None:
    """Set MLFLOW_TRACKING_URI for this process and those that it starts: a proof is no result and has its own store."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
