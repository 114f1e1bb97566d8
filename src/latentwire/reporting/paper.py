"""The paper: which sentences the statistics allow, and in which list each comparison belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentwire.reporting.checklist import DIGEST, drafts
from latentwire.reporting.facts import Facts, Record, Revision
from latentwire.reporting.labels import labels
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


def paper(facts: Facts, title: str, revision: Revision | None = None, origin: Mapping[str, str] | None = None) -> str:
    """`paper.tex`, every number in it taken from the statistics.

    `origin` maps what the footer names, such as a file, to its digest.
    """
    return render(
        "paper.tex.j2",
        title=title,
        tasks=[_task(facts, task) for task in facts.tasks],
        trained=[_trained(facts, method) for method in facts.trained()],
        # Set apart, because a name may hold a comma.
        baselines=[Tex(rf"\emph{{{escape(facts.name(key))}}}") for key in facts.baselines()],
        models=[_model(facts, key) for key in facts.stats["models"]],
        receivers=[facts.name(receiver) for receiver in facts.receivers],
        claims=[_claims(facts, method) for method in facts.trained()],
        controls=[_control(facts, record) for record in _of_controls(facts)],
        settings=_settings(facts),
        checkpoints=_checkpoints(facts),
        draft=drafts(facts, revision),
        footer=footer(facts, revision, origin or {}),
        averaged=bool(facts.stats["main"]),
        ablations="ablations" in facts.stats["families"],
        labels=labels(facts),
        shares=any(r["shares"] for r in facts.family("versus_reference")),
        ranked=any(record["reason"] is None for record in facts.stats["ranks"].values()),
        unranked=[record["reason"].split(". Next")[0] for record in facts.stats["ranks"].values() if record["reason"]][
            :1
        ],
    )


def footer(facts: Facts, revision: Revision | None, origin: Mapping[str, str]) -> list[Tex]:
    """Where the numbers come from: code, files, parameters, data, frozen weights and seeds.

    The trained weights stand in the table above it; the image is a fact of the execution (invariant I12).
    """
    code = "unknown" if revision is None else revision.commit[:DIGEST] + ("+changes" if revision.dirty else "")
    seeds = {
        facts.name(m): f"{len(facts.stats['methods'][m]['seeds'])} of {len(facts.stats['methods'][m]['seeds'])}"
        for m in facts.trained()
    }
    parts = {"code": code, **{name: digest[:DIGEST] for name, digest in origin.items()}}
    parts["parameters"] = facts.stats["parameters"][:DIGEST]
    parts |= {f"data of {facts.name(t)}": facts.stats["tasks"][t]["data_digest"][:DIGEST] for t in facts.tasks}
    parts |= {f"weights of {facts.name(m)}": about["digest"][:DIGEST] for m, about in facts.stats["models"].items()}
    parts |= {f"seeds of {name}": found for name, found in seeds.items()}
    parts["schema"] = facts.stats["schema"]
    return [Tex(rf"{escape(name)} \texttt{{{escape(value)}}}") for name, value in parts.items()]


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
