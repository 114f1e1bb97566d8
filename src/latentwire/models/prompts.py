"""The prompts of every task as each receiver reads them, decoded: what a person checks the composer by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

from latentwire.models.layout import Layout
from latentwire.models.loading import load_tokenizer, tokenise_plain
from latentwire.models.pieces import STAND_IN, tokenise_text
from latentwire.models.sources import Source
from latentwire.params.load import Params
from latentwire.params.sections import Task
from latentwire.tasks.examples import Example

Reader = tuple[PreTrainedTokenizerBase, int | None]
"""A receiver's tokenizer and the id with which it begins a text, as `load_tokenizer` gives them."""
WIRE = "⟨wire⟩"
"""Where the vectors of a wire stand."""


def task_layouts(values: Params, source: Source) -> dict[str, Layout]:
    """Task → its prompt for one receiver.

    Raises:
        ConfigurationError: An answer changes the tokens of its anchor.
    """
    tokenizer, bos = load_tokenizer(source)
    tasks = {name: values.tasks[name] for name in values.prepare.tasks}
    return {name: _build_layout(tokenizer, bos, task) for name, task in tasks.items()}


def decode_prompts(task: Task, example: Example, readers: Mapping[str, Reader]) -> dict[str, dict[str, str]]:
    """Receiver → its prompt with the text of an example (`text`) and with a wire (`wire`), and the example's answer."""
    return {name: _decode_both(task, example, *reader) for name, reader in readers.items()}


def _decode_both(task: Task, example: Example, tokenizer: PreTrainedTokenizerBase, bos: int | None) -> dict[str, str]:
    layout = _build_layout(tokenizer, bos, task)
    tokenise = partial(tokenise_plain, tokenizer)
    before, stand_in = [*layout.bos, *layout.primer], tokenise(STAND_IN)
    after = [*layout.anchor, *layout.answers[list(task.labels).index(example.label)]]
    text = tokenise_text(tokenise, task.primer, example.text)
    # An anchor decoded alone would lose its first space with some tokenizers.
    end = _decode(tokenizer, [*stand_in, *after]).removeprefix(_decode(tokenizer, stand_in))
    return {
        "text": _decode(tokenizer, [*before, *text, *after]),
        "wire": f"{_decode(tokenizer, before)}{WIRE}{end}",
    }


def _build_layout(tokenizer: PreTrainedTokenizerBase, bos: int | None, task: Task) -> Layout:
    tokenise = partial(tokenise_plain, tokenizer)
    return Layout.build(tokenise, bos, task.primer, task.anchor, list(task.labels.values()))


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
