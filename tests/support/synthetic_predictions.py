"""A small repository with made-up predictions, shaped as those of a real run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from latentwire.params.load import load_params
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.curves import learning_curves
from latentwire.statistics.grid import expected_grid
from latentwire.statistics.summary import compute_statistics
from latentwire.statistics.write import write_statistics
from latentwire.tasks import examples
from unbroken.run_folder import journal

REPOSITORY = Path(__file__).parents[2]
NAMES = {
    "wire": "Wire",
    "rotten_tomatoes": "Rotten Tomatoes",
    "r8": "Reuters R8",
    "smollm2": "SmolLM2-135M",
    "gemma3": "Gemma-3-270M",
    "minilm": "MiniLM",
}
STEPS = 60

EASE = {"wire": 0.9, "text": 0.35, "calibrated": 0.5, "truncated": -0.1, "probe": 1.1, "readout": 1.0, "few_shot": 0.6}
EASE |= {"wire-probe": 1.3, "wire-unseen": 0.2, "wire-int8": 0.9, "wire-int4": 0.3}
EASE |= {"wire_1": 0.3, "wire_1-probe": 0.7}
"""Mean of the latent skill of each method; accuracy is the share of examples whose difficulty is below it."""


LEARNED = ("probe", "readout", "wire", "wire-permuted", "wire_1")
"""Methods that learned from labelled examples."""
WIRES = ("wire", "wire_1", "wire-permuted")
READERS = ("text", "truncated", "calibrated", "readout", "few_shot")
"""Methods whose receivers read the text."""
QUANTISED = {"wire-int8": 1632.0, "wire-int4": 864.0}
"""Bytes of a wire of eight vectors of 192 numbers at fewer bits."""


def build(
    root: Path,
    seeds: Iterable[int | str] = (0, 1, 2),
    count: int = 600,
    precisions: Sequence[str] = (),
    ablation_seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Write `params.yaml`, that of the repository but for seeds, steps and names, and what `aggregate` reads.

    Without `ablation_seeds` there are no ablations.
    """
    values: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    ablations = {"methods": ["wire_1"] if ablation_seeds else [], "seeds": list(ablation_seeds)}
    values["train"] |= {"seeds": list(seeds), "ablations": ablations, "steps": STEPS, "warmup": 1}
    values["aggregate"] |= {"resamples": 500, "reference": "text", "metrics": {}}
    values["evaluate"]["precisions"] = list(precisions)
    values["report"]["names"] = NAMES
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    models = {
        name: {"family": name.rstrip("0123456789"), "license": None, "parameters": 123456, "digest": digest(name)}
        for name in values["models"]
    }
    (root / "results" / "prepare").mkdir(parents=True)
    (root / "results" / "prepare" / "models.json").write_text(json.dumps(models), encoding="utf-8")
    for number, task in enumerate(values["prepare"]["tasks"]):
        _write_task(root / "results", values, task, np.random.default_rng([7, number]), count)
    return values


def aggregate(root: Path) -> StatsRecord:
    """What the stage `aggregate` does, in another folder than the current one."""
    values = load_params(root / "params.yaml")
    summary = compute_statistics(root / "results", values)
    write_statistics(
        root / "results/aggregate", summary, learning_curves(root / "results", expected_grid(values), STEPS)
    )
    return summary


def _write_task(results: Path, values: dict[str, Any], task: str, rng: np.random.Generator, count: int) -> None:
    labels = list(values["tasks"][task]["labels"])
    golds = _write_examples(results / "prepare" / task, task, labels, rng, count)
    _write_prompts(results / "prepare" / task, values["tasks"][task], values["methods"]["wire"]["receivers"])
    difficulty = rng.normal(size=count)
    receivers = values["methods"]["wire"]["receivers"]
    for name in ("text", "truncated"):
        rows = [_answers(name, model, task, None, golds, labels, difficulty, rng, EASE[name]) for model in receivers]
        _write_item(results / "baseline" / task / name, rows, trained=False)
    probe = _answers("probe", "minilm", task, None, golds, labels, difficulty, rng, EASE["probe"])
    _write_item(results / "baseline" / task / "probe", [probe], trained=False)
    common = str(golds.value_counts().index[0])
    _write_item(results / "baseline" / task / "majority", [_constant(task, golds, labels, common)], trained=False)
    for seed in values["train"]["seeds"]:
        if str(seed).startswith("permuted-"):
            _write_permuted(results, task, seed, golds, labels, receivers, values["train"]["steps"])
            continue
        ease = EASE["wire"] + 0.08 * rng.normal()
        rows = [_answers("wire", model, task, seed, golds, labels, difficulty, rng, ease) for model in receivers]
        shuffled = [_shuffled(row, rng) for row in rows]
        rows += [*shuffled, *(_noise(row, seed) for row in rows)]
        rows += _beside(task, seed, golds, labels, difficulty, receivers, len(values["tasks"][task]["unseen"]))
        for precision in values["evaluate"]["precisions"]:
            rows += _quantised(f"wire-{precision}", task, seed, golds, labels, difficulty, receivers)
        _write_item(results / "evaluate" / f"wire-{task}-{seed}", rows, trained=True)
        _write_journal(results / "train" / f"wire-{task}-{seed}", receivers, values["train"]["steps"], rng)
    for seed in values["train"]["ablations"]["seeds"]:
        _write_ablation(results, task, seed, golds, labels, difficulty, receivers)
    for name in ("calibrated", "readout", "few_shot"):
        rows = [_answers(name, model, task, None, golds, labels, difficulty, rng, EASE[name]) for model in receivers]
        _write_item(results / "baseline" / task / name, rows, trained=False)


def _write_examples(folder: Path, task: str, labels: list[str], rng: np.random.Generator, count: int) -> pd.Series:
    folder.mkdir(parents=True)
    weights = np.arange(len(labels), 0, -1) + 2.0
    texts = [f"{task} text {i}" for i in range(2 * count)]
    classes = rng.choice(labels, size=2 * count, p=weights / weights.sum())
    stored = [
        examples.Example(examples.example_id(text), "train" if i < count else "test", text, str(label))
        for i, (text, label) in enumerate(zip(texts, classes, strict=True))
    ]
    examples.write_examples(stored, folder / "examples.parquet")
    _write_token_counts(folder, [example.example_id for example in stored])
    counts = {split: dict.fromkeys(labels, 0) for split in ("train", "validation", "test")}
    for example in stored:
        counts[example.split][example.label] += 1
    facts = {"digest": examples.digest_examples(stored), "counts": counts, "source_sha256": digest("source")}
    (folder / "task.json").write_text(json.dumps({**facts, "dropped": {}}), encoding="utf-8")
    test = [example for example in stored if example.split == "test"]
    return pd.Series([e.label for e in test], index=pd.Index([e.example_id for e in test], name="example_id"))


def _write_token_counts(folder: Path, ids: list[str]) -> None:
    """Of any hundred texts the sender cuts 47, and the receivers 45 and 35."""
    lengths = {"sender/minilm": 12, "receiver/smollm2": 10, "receiver/gemma3": 0}
    counts = {name: [least + row % 100 for row in range(len(ids))] for name, least in lengths.items()}
    pd.DataFrame({"example_id": ids, **counts}).to_parquet(folder / "token_counts.parquet")


def _write_prompts(folder: Path, task: dict[str, Any], receivers: list[str]) -> None:
    """As `prepare` decodes them: the last receiver begins with a token of its own."""
    end = task["anchor"] + next(iter(task["labels"].values()))
    prompts = {
        name: {kind: f"{start}{task['primer']}{middle}{end}" for kind, middle in (("text", " a"), ("wire", "⟨wire⟩"))}
        for name, start in zip(receivers, [""] * (len(receivers) - 1) + ["<bos>"], strict=True)
    }
    (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")


def _tensors(receivers: list[str]) -> dict[str, Any]:
    """Trained tensors as a manifest names them, a few of each part."""
    shapes = {"optimizer/state/0/exp_avg": [8, 192], "wire/resampler.queries": [8, 192]}
    shapes["wire/resampler.project.0.weight"] = [192, 384]
    for width, name in enumerate(receivers, 576):
        shapes |= {f"wire/adapters.{name}.skip.weight": [width, 192], f"wire/adapters.{name}.scale": []}
    return {name: {"dtype": "float32", "shape": shape, "sha256": digest(name)} for name, shape in shapes.items()}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _answers(
    method: str,
    model: str,
    task: str,
    seed: int | None,
    golds: pd.Series,
    labels: list[str],
    difficulty: np.ndarray,
    rng: np.random.Generator,
    ease: float,
) -> pd.DataFrame:
    right = difficulty + 0.8 * rng.normal(size=len(golds)) < ease
    wrong = np.array([rng.choice([label for label in labels if label != gold]) for gold in golds])
    return _frame(method, model, task, seed, golds, labels, np.where(right, golds.to_numpy(), wrong), rng)


def _frame(
    method: str,
    model: str,
    task: str,
    seed: int | None,
    golds: pd.Series,
    labels: list[str],
    predictions: np.ndarray,
    rng: np.random.Generator,
) -> pd.DataFrame:
    scores = -2 - rng.random((len(golds), len(labels)))
    scores[np.arange(len(golds)), [labels.index(label) for label in predictions]] = -0.5
    return pd.DataFrame(
        {
            "method": method,
            "model": model,
            "task": task,
            "seed": pd.array([seed] * len(golds), dtype="Int64"),
            "example_id": golds.index,
            "prediction": predictions,
            "scores": list(scores),
        }
    )


def _constant(task: str, golds: pd.Series, labels: list[str], label: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return _frame("majority", "none", task, None, golds, labels, np.full(len(golds), label), rng)


def _shuffled(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    order = rng.permutation(len(rows))
    moved = rows.iloc[order][["prediction", "scores"]].reset_index(drop=True)
    return rows.reset_index(drop=True).assign(method="wire-shuffled", **moved)


def _noise(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Answers in yet another order, from draws that no other answer depends on."""
    return _shuffled(rows, np.random.default_rng([11, seed])).assign(method="wire-noise")


def _beside(
    task: str,
    seed: int,
    golds: pd.Series,
    labels: list[str],
    difficulty: np.ndarray,
    receivers: list[str],
    sets: int,
) -> list[pd.DataFrame]:
    """The probe on the wires, and answers with unseen words: the first set of them says something, the others nothing.

    From draws that no other answer depends on.
    """
    rng = np.random.default_rng([13, seed, len(labels)])
    rows = [_answers("wire-probe", "minilm", task, seed, golds, labels, difficulty, rng, EASE["wire-probe"])]
    for number in range(1, sets + 1):
        for model in receivers:
            name = f"wire-unseen-{number}"
            own = _answers(name, model, task, seed, golds, labels, difficulty, rng, EASE["wire-unseen"])
            rows.append(own if number == 1 else _shuffled(own, rng).assign(method=name))
    return rows


def _quantised(
    name: str,
    task: str,
    seed: int,
    golds: pd.Series,
    labels: list[str],
    difficulty: np.ndarray,
    receivers: list[str],
) -> list[pd.DataFrame]:
    """Answers to wires at fewer bits, from draws that no other answer depends on."""
    rng = np.random.default_rng([19, seed, len(labels), len(name) + ord(name[-1])])
    return [_answers(name, model, task, seed, golds, labels, difficulty, rng, EASE[name]) for model in receivers]


def _write_ablation(
    results: Path,
    task: str,
    seed: int,
    golds: pd.Series,
    labels: list[str],
    difficulty: np.ndarray,
    receivers: list[str],
) -> None:
    """A training of another method, with the probe on its wires and no controls, from draws of its own."""
    rng = np.random.default_rng([19, seed, len(labels)])
    rows = [
        _answers(name, model, task, seed, golds, labels, difficulty, rng, EASE[name])
        for name, models in (("wire_1", receivers), ("wire_1-probe", ["minilm"]))
        for model in models
    ]
    _write_item(results / "evaluate" / f"wire_1-{task}-{seed}", rows, trained=True)
    _write_journal(results / "train" / f"wire_1-{task}-{seed}", receivers, STEPS, rng)


def _write_permuted(
    results: Path, task: str, seed: str, golds: pd.Series, labels: list[str], receivers: list[str], steps: int
) -> None:
    """A training on permuted labels: answers that follow the frequencies of the labels and nothing else."""
    number = int(seed.removeprefix("permuted-"))
    rng = np.random.default_rng([17, len(labels), number])
    rows = [
        _frame("wire-permuted", model, task, number, golds, labels, rng.permutation(golds.to_numpy()), rng)
        for model in receivers
    ]
    _write_item(results / "evaluate" / f"wire-{task}-{seed}", rows, trained=True)
    _write_journal(results / "train" / f"wire-{task}-{seed}", receivers, steps, rng)


def _write_item(folder: Path, rows: list[pd.DataFrame], trained: bool) -> None:
    folder.mkdir(parents=True)
    frame = pd.concat(rows, ignore_index=True)
    frame.to_parquet(folder / "predictions.parquet")
    method, seed = str(frame["method"].iloc[0]), frame["seed"].iloc[0]
    reads = method in READERS
    results = next(parent for parent in folder.parents if parent.name == "results")
    meta = {
        "method": method,
        "task": str(frame["task"].iloc[0]),
        "seed": None if pd.isna(seed) else int(seed),
        "sees": {"text": reads, "labels": method not in ("wire", "wire_1"), "features": method in (*WIRES, "probe")},
        "training_labels": {"majority": len(frame), "few_shot": 8}.get(method, 960 if method in LEARNED else 0),
        "bytes_per_example": {
            "wire": 3072.0,
            "wire_1": 384.0,
            "wire-permuted": 3072.0,
            "text": 131.4,
            "calibrated": 131.4,
            "readout": 131.4,
            "few_shot": 131.4,
            "truncated": 38.2,
            "probe": 1536.0,
            "majority": 0.0,
        }[method],
        "most_bytes": 312,
        "slots": (1 if method == "wire_1" else 8) if trained else None,
        "trained": trained,
        "checkpoint": digest(folder.name) if trained else None,
        "layout": {},
        "data_digest": json.loads((results / "prepare" / frame["task"].iloc[0] / "task.json").read_text())["digest"],
    }
    sizes = {name: size for name, size in QUANTISED.items() if name in set(frame["method"])}
    meta |= {"quantised": sizes} if sizes else {}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _write_journal(folder: Path, receivers: list[str], steps: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        entry = {"train/loss": 4 * np.exp(-step / 15) + 0.6 + 0.15 * rng.normal(), "lr": 1e-3}
        if step % 20 == 0:
            rise = 0.55 + 0.25 * (1 - np.exp(-step / 20))
            entry |= {f"validation/accuracy/{model}": rise + 0.02 * rng.normal() for model in receivers}
            entry |= {"validation/slot_cosine": 0.37, "validation/effective_rank": 5.25 + step / 80}
        # numpy's exp has another last bit with AVX-512 than with AVX2, and a journal is known by its digest.
        lines.append(journal.encode_record(step, {name: round(float(value), 9) for name, value in entry.items()}))
    (folder / journal.JOURNAL_FILE).write_bytes(b"".join(lines))
    journalled = hashlib.sha256((folder / journal.JOURNAL_FILE).read_bytes()).hexdigest()
    facts = {"step": steps, "identity": digest(f"identity {folder.name}"), "state": digest(folder.name)}
    facts |= {"tree": {}, "tensors": _tensors(receivers), "files": {"journal.jsonl": {"sha256": journalled}}}
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
