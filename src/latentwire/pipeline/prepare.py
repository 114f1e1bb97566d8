"""Wheels and local files → `results/prepare/`: the examples of every task, and a record of every frozen model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.assets import Assets
from latentwire.models import cache as store
from latentwire.models.limits import check_model_limits
from latentwire.models.loading import Role, count_parameters, load_tokenizer, supported_attention
from latentwire.models.prompts import Reader, decode_prompts
from latentwire.models.sources import Source, materialise_model
from latentwire.models.token_counts import FILE, count_reader_tokens, count_sender_tokens, write_token_counts
from latentwire.models.unseen_words import check_unseen_words
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.tasks.examples import Example
from latentwire.tasks.loading import prepare_task, write_task

RESULTS = Path("results/prepare")


def prepare_inputs(
    values: Params, assets: Assets | None = None, results: Path = RESULTS, cache: Path = store.FOLDER
) -> None:
    """Write examples, facts, prompts and token counts of every task to `TASK/`, and `models.json`.

    Args:
        values: All parameters.
        assets: Wheels of packaged tasks and models; by default `assets/` and `assets.lock`.
        results: The folder that is written.
        cache: Folder of converted models.
    """
    assets = assets or Assets()
    prepared = {task: prepare_task(task, values.tasks[task], values.prepare, assets) for task in values.prepare.tasks}
    for task, described in prepared.items():
        write_task(described, results / task)
    sources = [
        materialise_model(name, values.models[name], cache=cache, assets=assets, verify=True)
        for name in values.frozen_models()
    ]
    by_name = {source.name: source for source in sources}
    check_model_limits(values, by_name)
    readers = {name: load_tokenizer(by_name[name]) for name in values.receivers}
    check_unseen_words(values, readers)
    sender = values.encode.sender
    for task, described in prepared.items():
        shown = decode_prompts(values.tasks[task], _shortest(described.examples), readers)
        _write(results / task / "prompts.json", shown)
        counts = _count_tokens(values, task, described.examples, {**readers, sender: load_tokenizer(by_name[sender])})
        write_token_counts(results / task / FILE, [e.example_id for e in described.examples], counts)
    _write(results / "models.json", {source.name: _describe(source, values) for source in sources})


def _count_tokens(
    values: Params, task: str, examples: Sequence[Example], tokenizers: Mapping[str, Reader]
) -> dict[str, list[int]]:
    """`sender/NAME` and `receiver/NAME` → tokens of each text as that model reads it; one may be both."""
    texts, primer, sender = [example.text for example in examples], values.tasks[task].primer, values.encode.sender
    read = {f"receiver/{name}": count_reader_tokens(tokenizers[name][0], primer, texts) for name in values.receivers}
    return {f"sender/{sender}": count_sender_tokens(tokenizers[sender][0], texts), **read}


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    write_text_file(path, json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _shortest(examples: Sequence[Example]) -> Example:
    """The training example that shows best what stands around its text."""
    return min((e for e in examples if e.split == "train"), key=lambda e: (len(e.text), e.example_id))


def _describe(source: Source, values: Params) -> dict[str, str | int | None]:
    role: Role = "causal" if source.name in values.receivers else "encoder"
    return {
        "sha256": source.sha256,
        "family": source.family,
        "license": source.license,
        "digest": source.digest,
        "attention": supported_attention(source, role),
        "parameters": count_parameters(source, role),
    }
