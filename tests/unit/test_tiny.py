"""The hand-made models and the task are what the pipeline's tests rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.models.loading import load_model
from latentwire.params.sources import LocalModel
from latentwire.rehearsal import tiny

MAKERS: dict[str, Callable[[Path], object]] = {
    "llama": lambda folder: tiny.tiny_causal_model(folder, "llama"),
    "gemma3_text": lambda folder: tiny.tiny_causal_model(folder, "gemma3_text"),
    "encoder": tiny.tiny_encoder_model,
    "task": tiny.tiny_task,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_two_calls_write_the_same_bytes(tmp_path: Path, maker: str) -> None:
    for name in ("one", "two"):
        MAKERS[maker](tmp_path / name)
    files = sorted((tmp_path / "one").iterdir())
    assert files
    assert [f.name for f in files] == sorted(f.name for f in (tmp_path / "two").iterdir())
    assert all(file.read_bytes() == (tmp_path / "two" / file.name).read_bytes() for file in files)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_texts_survive_the_tokenizer_and_labels_are_one_token(tmp_path: Path, family: str) -> None:
    spec = LocalModel.model_validate(tiny.tiny_causal_model(tmp_path, family))  # type: ignore[arg-type]
    tokenizer = load_model("m", spec).tokenizer
    rows = tiny.tiny_task(tmp_path / "task") and (tmp_path / "task/tiny.csv").read_text().splitlines()[1:]
    for text, label in (row.split(",") for row in rows):
        whole = f"{tiny.PRIMER} {text}{tiny.ANCHOR}{tiny.LABELS[label]}"
        ids = tokenizer(whole, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == whole
        assert ids[:-1] == tokenizer(whole.removesuffix(tiny.LABELS[label]), add_special_tokens=False).input_ids
