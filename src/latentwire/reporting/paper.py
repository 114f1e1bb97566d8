"""The paper: which sentences the statistics allow, and in which list each comparison belongs."""

from __future__ import annotations

from typing import Any

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.numbers import (
    Tex,
    decimals_for,
    escape,
    interval,
    p_clause,
    percent,
    points,
    signed,
)
from latentwire.reporting.templates import render

DIGEST = 12
"""Letters of a digest that are printed."""


def paper(facts: Facts, title: str) -> str:
    """`paper.tex`, every number in it taken from the statistics."""
    return render(
        "paper.tex.j2",
        title=title,
        tasks=[_task(facts, task) for task in facts.tasks],
        trained=[_trained(facts, method) for method in facts.trained()],
        baselines=[facts.name(key) for key in facts.baselines()],
        models=[_model(facts, key) for key in facts.stats["models"]],
        receivers=[facts.name(receiver) for receiver in facts.receivers],
        claims=[_claims(facts, method) for method in facts.trained()],
        controls=[_control(facts, record) for record in _of_controls(facts)],
        settings=_settings(facts),
        checkpoints=_checkpoints(facts),
    )


def _task(facts: Facts, task: str) -> Record:
    about = facts.stats["tasks"][task]
    return {
        "key": task,
        "name": facts.name(task),
        "n": about["n"],
        "classes": len(about["counts"]),
        "data": Tex(about["data_digest"][:DIGEST]),
        "ids": Tex(about["ids"][:DIGEST]),
        "golds": Tex(about["golds"][:DIGEST]),
    }


def _model(facts: Facts, key: str) -> Record:
    about = facts.stats["models"][key]
    return {
        "name": facts.name(key),
        "family": about["family"] or "not stated",
        "license": about["license"] or "not stated",
        "digest": Tex(about["digest"][:DIGEST]),
    }


def _trained(facts: Facts, method: str) -> Record:
    about = facts.stats["methods"][method]
    cells = [cell for cell in facts.stats["cells"].values() if cell["method"] == method]
    return {
        "name": facts.name(method),
        "seeds": len(about["seeds"]),
        "receivers": [facts.name(model) for model in about["models"]],
        "bytes": f"{cells[0]['bytes_per_example']:,.0f}",
    }


def _claims(facts: Facts, method: str) -> Record:
    """Verdicts of a trained method: against chance, and against baselines sorted into won, lost and open."""
    chance = [r for r in facts.family("versus_chance") if r["a"] == method]
    others = [r for r in facts.family("versus_baselines") if r["a"] == method and r["b"] != facts.setting("chance")]
    return {
        "name": facts.name(method),
        "chance": [_sentence(facts, r) for r in chance],
        "above_chance": sum(r["verdict"] == "better" for r in chance),
        "chance_total": len(chance),
        "won": [_sentence(facts, r) for r in others if r["verdict"] == "better"],
        "lost": [_sentence(facts, r) for r in others if r["verdict"] == "worse"],
        "open": [_sentence(facts, r) for r in others if r["verdict"] == "not different"],
        "total": len(others),
    }


def _sentence(facts: Facts, record: Record) -> Record:
    cell = facts.cell(f"{record['task']}/{record['receiver']}/{record['a']}/{facts.setting('metric')}")
    widths = [record["high"] - record["low"]] if record["low"] is not None else []
    decimals = decimals_for(widths)
    return {
        "task": facts.name(record["task"]),
        "receiver": facts.name(record["receiver"]),
        "b": facts.name(record["b"]),
        "accuracy": percent(cell["value"], decimals),
        "accuracy_interval": interval(cell["low"], cell["high"], decimals),
        "delta": signed(record["value"], decimals),
        "interval": interval(record["low"], record["high"], decimals, sign=True),
        "p": p_clause(record["p_adjusted"], _adjust(facts)),
        "mde": points(record["mde"], decimals),
        "verdict": record["verdict"],
    }


def _of_controls(facts: Facts) -> list[Record]:
    return [record for record in facts.family("versus_chance") if record["a"] in facts.controls()]


def _control(facts: Facts, record: Record) -> Record:
    return {**_sentence(facts, record), "name": facts.name(record["a"])}


def _adjust(facts: Facts) -> str:
    return {"holm": "Holm", "bh": "BH"}[facts.setting("adjust")]


def _settings(facts: Facts) -> dict[str, Any]:
    return {
        "confidence": f"{100 * facts.setting('confidence'):g}",
        "alpha": f"{facts.setting('alpha'):g}",
        "retained": f"{100 * facts.setting('retained'):g}",
        "reference": facts.name(facts.setting("reference")),
        "adjust": {"holm": "Holm", "bh": "Benjamini--Hochberg"}[facts.setting("adjust")],
    }


def _checkpoints(facts: Facts) -> list[Record]:
    """Every trained run with the digest of its weights and of its predictions."""
    found = []
    for path, source in facts.stats["sources"].items():
        if source["checkpoint"] is not None:
            item = path.split("/")[-2]
            found.append(
                {
                    "item": escape(item),
                    "checkpoint": Tex(source["checkpoint"][:DIGEST]),
                    "predictions": Tex(source["sha256"][:DIGEST]),
                    "rows": source["rows"],
                }
            )
    return found
