"""The running values of an epoch: those that `self.log` averages, and the metrics of torchmetrics in a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torchmetrics import Metric

_FIELDS = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
_MORE_FIELDS = ("dataloader_idx", "metric_attribute")
_OF_METRIC = ("_update_count", "_computed", "_forward_cache")
_SYNC = ("_should", "rank_zero_only")


class MetricStates:
    """Values that no checkpoint of Lightning holds, so that a mean over an epoch survives inside it."""

    def __init__(self, trainer: Any) -> None:
        """`trainer`: whose module has been set up."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Name -> values, of the metrics in the module and of what it logs while it trains."""
        return {
            "module": {name: _read_metric(metric) for name, metric in self._metrics()},
            "logged": {key: _read_logged(metric) for key, metric in self._results.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the values back; what is logged is made anew, with the module's own metrics inside."""
        metrics = dict(self._metrics())
        for name, values in state["module"].items():
            _write_metric(metrics[name], values)
        self._results.clear()
        for key, stored in state["logged"].items():
            self._results[key] = self._new_logged(stored, metrics)

    @property
    def _results(self) -> Any:
        return self._trainer.fit_loop.epoch_loop._results

    def _metrics(self) -> Iterator[tuple[str, Metric]]:
        for name, module in self._trainer.lightning_module.named_modules():
            if isinstance(module, Metric):
                yield name, module

    def _new_logged(self, stored: dict[str, Any], metrics: dict[str, Metric]) -> Any:
        library = sys.modules[type(self._results).__module__]
        meta = library._Metadata(**stored["meta"], reduce_fx=getattr(torch, stored["reduce"]))
        meta.sync = library._Sync(fn=self._trainer.strategy.reduce, **stored["sync"])
        result = library._ResultMetric(meta, stored["is_tensor"])
        result.has_reset = stored["has_reset"]
        _write_metric(result, stored["values"])
        if not stored["is_tensor"]:
            result.value = metrics[meta.metric_attribute]
        return result.to(self._trainer.strategy.root_device)


def _read_metric(metric: Any) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in (*metric._defaults, *_OF_METRIC)}


def _write_metric(metric: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        object.__setattr__(metric, name, list(value) if isinstance(value, list) else value)


def _read_logged(result: Any) -> dict[str, Any]:
    meta = result.meta
    return {
        "meta": {name: getattr(meta, name) for name in (*_FIELDS, *_MORE_FIELDS)},
        "reduce": meta.reduce_fx.__name__,
        "sync": {name: getattr(meta.sync, name) for name in _SYNC},
        "is_tensor": result.is_tensor,
        "has_reset": result.has_reset,
        "values": _read_metric(result),
    }
