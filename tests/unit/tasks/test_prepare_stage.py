"""Stage `prepare` from parameters to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from latentwire.assets import Assets
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError
from latentwire.models.weights import tensors_digest
from latentwire.params.load import parse_params
from latentwire.pipeline.prepare import prepare_inputs
from latentwire.rehearsal.tiny import tiny_causal_model, tiny_encoder_model, tiny_task
from latentwire.tasks.examples import read_examples

ROOT = Path(__file__).parents[3]


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """The default parameters over the tiny task and models."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    default: dict[str, Any] = yaml.safe_load(text)
    default["models"] = {
        "minilm": tiny_encoder_model(tmp_path / "minilm"),
        "smollm2": tiny_causal_model(tmp_path / "smollm2"),
        "gemma3": tiny_causal_model(tmp_path / "gemma3", "gemma3_text"),
    }
    default["tasks"] = {"tiny": tiny_task(tmp_path / "data")}
    default["aggregate"]["metrics"] = {}
    default["prepare"]["tasks"] = ["tiny"]
    return default


def run(values: dict[str, Any], folder: Path) -> Path:
    prepare_inputs(parse_params(values, "test"), Assets(), folder / "results", folder / "cache")
    return folder / "results"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("section", "key", "value", "sentence"),
    [
        ("encode", "layer", 9, r"encode.layer is 9, but minilm has \d layers: expected 0"),
        ("encode", "layer", -9, r"encode.layer is -9, but minilm has"),
        ("encode", "max_tokens", 100_000, r"encode.max_tokens is 100000, but minilm reads \d+ positions"),
        ("encode", "max_tokens", 2, r"encode.max_tokens is 2, but minilm puts 2 marks around a text"),
        ("baseline", "max_tokens", 1_000_000, r"baseline.max_tokens is 1000000, but smollm2 reads \d+ positions"),
    ],
)
def test_what_a_model_does_not_have_is_said_before_anything_is_trained(
    section: str, key: str, value: int, sentence: str, values: dict[str, Any], tmp_path: Path
) -> None:
    values[section][key] = value
    with pytest.raises(ConfigurationError, match=sentence):
        run(values, tmp_path)


def test_a_layer_that_a_receiver_does_not_have_is_said_before_anything_is_trained(
    values: dict[str, Any], tmp_path: Path
) -> None:
    lora = {"kind": "lora", "rank": 1, "alpha": 1.0, "receivers": ["smollm2"]}
    values["methods"] |= {"good": lora, "bad": {**lora, "targets": ["q_proj", "query_key_value"]}}
    values["report"]["names"] |= {"good": "Good", "bad": "Bad"}
    values["train"]["methods"] += ["good"]
    run(values, tmp_path)
    values["train"]["methods"] += ["bad"]
    with pytest.raises(
        ConfigurationError, match=r"smollm2 has no linear layer named query_key_value; it has .*q_proj.*`targets`"
    ):
        run(values, tmp_path)


@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
def test_a_prompt_that_is_longer_than_the_model_by_one_token_is_said(
    model: str, values: dict[str, Any], tmp_path: Path
) -> None:
    """Text, primer, anchor and answer (the longest label, or a sample) share the positions of the model."""
    config = json.loads((tmp_path / model / "config.json").read_text())
    positions = config["max_position_embeddings"]
    tokenise = AutoTokenizer.from_pretrained(tmp_path / model)
    task = values["tasks"]["tiny"]
    words = [task["primer"], task["anchor"], *task["labels"].values()]
    primer, anchor, *_ = (len(tokenise(text, add_special_tokens=False)["input_ids"]) for text in words)
    begins = tokenise("x")["input_ids"][:1] == [tokenise.bos_token_id]
    room = positions - primer - anchor - begins - values["evaluate"]["samples"]["tokens"]
    others = {"smollm2": "gemma3", "gemma3": "smollm2"}
    for method in values["methods"].values():
        method["receivers"] = [name for name in method["receivers"] if name != others[model]] or [model]
    values["baseline"]["max_tokens"] = room
    run(values, tmp_path)
    values["baseline"]["max_tokens"] = room + 1
    with pytest.raises(
        ConfigurationError, match=rf"take {positions - room} of them in task tiny. Next: lower it to {room}"
    ):
        run(values, tmp_path)


def test_an_answer_that_changes_the_anchor_is_said_before_anything_is_trained(
    values: dict[str, Any], tmp_path: Path
) -> None:
    values["tasks"]["tiny"]["labels"] = dict.fromkeys(values["tasks"]["tiny"]["labels"], "")
    with pytest.raises(ConfigurationError):
        run(values, tmp_path)
    labels = list(values["tasks"]["tiny"]["labels"])
    values["tasks"]["tiny"]["labels"] = {label: "" if label == labels[0] else f" {label}" for label in labels}
    with pytest.raises(ConfigurationError, match="expected the same tokens followed by those of the answer"):
        run(values, tmp_path)


@pytest.mark.parametrize(("one", "other"), [("dark", " dark"), ("zebra", "giraffe")])
def test_two_labels_that_a_receiver_cannot_tell_apart_are_said(
    one: str, other: str, values: dict[str, Any], tmp_path: Path
) -> None:
    """A space more, or two words for which the tokenizer has none of its own."""
    values["tasks"]["tiny"]["labels"] = dict(zip(values["tasks"]["tiny"]["labels"], (one, other), strict=True))
    with pytest.raises(ConfigurationError, match=r"of task tiny are the same answer for smollm2, tokens \[\d+\]"):
        run(values, tmp_path)


def test_it_writes_every_task_and_describes_every_model(values: dict[str, Any], tmp_path: Path) -> None:
    results = run(values, tmp_path)
    assert sorted(files(results)) == [
        "models.json",
        *("tiny/examples.parquet", "tiny/prompts.json", "tiny/task.json", "tiny/token_counts.parquet"),
    ]
    models = json.loads((results / "models.json").read_text())
    assert {name: model["family"] for name, model in models.items()} == {
        "minilm": "bert",
        "smollm2": "llama",
        "gemma3": "gemma3_text",
    }
    assert models["gemma3"] == {
        "attention": "sdpa",
        "digest": tensors_digest(tmp_path / "gemma3"),
        "family": "gemma3_text",
        "license": None,
        "parameters": AutoModelForCausalLM.from_pretrained(tmp_path / "gemma3").num_parameters(),
        "sha256": sha256_of(tmp_path / "gemma3/model.safetensors"),
    }


def test_it_counts_the_tokens_of_every_text_as_every_model_reads_it(values: dict[str, Any], tmp_path: Path) -> None:
    results = run(values, tmp_path)
    counts = pd.read_parquet(results / "tiny/token_counts.parquet")
    examples = read_examples(results / "tiny/examples.parquet")
    assert list(counts["example_id"]) == [example.example_id for example in examples]
    assert list(counts.columns[1:]) == ["sender/minilm", "receiver/smollm2", "receiver/gemma3"]
    for name in ("smollm2", "gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
        read = [len(tokenizer(f"Note: {e.text}", add_special_tokens=False).input_ids) for e in examples]
        primer = len(tokenizer("Note:", add_special_tokens=False).input_ids)
        assert list(counts[f"receiver/{name}"]) == [length - primer for length in read]
    sender = AutoTokenizer.from_pretrained(tmp_path / "minilm")
    assert list(counts["sender/minilm"]) == [len(sender(e.text).input_ids) for e in examples]


def test_it_writes_the_prompts_that_every_receiver_reads(values: dict[str, Any], tmp_path: Path) -> None:
    results = run(values, tmp_path)
    rows = (tmp_path / "data/tiny.csv").read_text(encoding="utf-8").splitlines()[1:]
    prompts = json.loads((results / "tiny/prompts.json").read_text(encoding="utf-8"))
    assert sorted(prompts) == ["gemma3", "smollm2"]
    for name, bos in (("smollm2", ""), ("gemma3", "<bos>")):
        text, answer = prompts[name]["text"].removeprefix(f"{bos}Note: ").split("\nMood: ")
        assert f"{text},{answer}" in rows
        assert prompts[name]["wire"] == f"{bos}Note:⟨wire⟩\nMood: {answer}"


def test_two_runs_write_the_same_bytes_without_a_path_in_them(values: dict[str, Any], tmp_path: Path) -> None:
    first, second = files(run(values, tmp_path / "one")), files(run(values, tmp_path / "two"))
    assert first == second
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_a_model_that_is_not_used_is_not_looked_for(values: dict[str, Any], tmp_path: Path) -> None:
    values["models"]["unused"] = {"local": str(tmp_path / "nowhere")}
    assert "unused" not in json.loads((run(values, tmp_path) / "models.json").read_text())
    values["models"]["gemma3"] = {"local": str(tmp_path / "nowhere")}
    with pytest.raises(ConfigurationError, match=r"No model at models.gemma3.local = .*nowhere"):
        run(values, tmp_path)
