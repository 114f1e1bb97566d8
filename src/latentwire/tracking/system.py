"""System metrics of this machine (CPU, memory, disk, network, GPUs if there are any) in a run of MLflow."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import psutil

from latentwire.tracking.runs import TrackedRun

SECONDS = 5.0  # between two points; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL overrides it
PREFIX = "system/"


class SystemMetrics:
    """MLflow's monitor of one run. It runs in a daemon thread of its own and goes on counting after a restart.

    GPUs are seen through nvidia-ml-py; without one, those metrics are left out.
    """

    def __init__(self, run: TrackedRun, seconds: float = SECONDS) -> None:
        self._run = run
        self._seconds = seconds
        self._next = 1 + max((step for key, step in run.last.items() if key.startswith(PREFIX)), default=-1)
        self._monitor: Any = None

    def ensure_running(self) -> None:
        """Start the monitor, also again: MLflow's own ends for good when it once does not reach its store."""
        if self._monitor is not None:
            if self._monitor._process.is_alive():
                return
            self._next = max(self._next, self._monitor._logging_step)
        module = importlib.import_module("mlflow.system_metrics.system_metrics_monitor")
        self._monitor = module.SystemMetricsMonitor(
            self._run.run_id,
            sampling_interval=self._seconds,
            resume_logging=True,
            tracking_uri=self._run.experiment.store.uri,
        )
        self._monitor.monitor = _primed(self._monitor)
        # MLflow starts from 0 when it cannot ask its store at that moment; that would give a step two points.
        self._monitor._logging_step = max(self._next, self._monitor._logging_step)
        self._monitor.start()

    def stop(self) -> None:
        """End the monitor and send what it has measured; takes as long as MLflow takes for two requests."""
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None


def _primed(monitor: Any) -> Callable[[], None]:
    """The monitor's loop, begun with what psutil needs: its first answer in a thread is always 0 %."""
    loop: Callable[[], None] = monitor.monitor

    def run() -> None:
        psutil.cpu_percent()
        monitor._shutdown_event.wait(min(1.0, monitor.sampling_interval))
        loop()

    return run
