"""The prompts of every task as each receiver reads them, decoded: what a person checks the composer by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from latentwire.models.layout import Layout
from latentwire.models.loading import load_tokenizer
from latentwire.models.pieces import STAND_IN, Tokenise, tokenise_text
from latentwire.models.sources import Source
from latentwire.params.load import Params
from latentwire.params.sections import Task
from latentwire.tasks.examples import Example

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


def decode_prompts(
    task: Task, example: Example, sources: Mapping[str, Source], receivers: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Receiver → its prompt with the text of an example (`text`) and with a wire (`wire`), and the example's answer."""
    return {name: _decode_both(task, example, *load_tokenizer(sources[name])) for name in receivers}


def _decode_both(task: Task, example: Example, tokenizer: PreTrainedTokenizerBase, bos: int | None) -> dict[str, str]:
    layout = _build_layout(tokenizer, bos, task)
    tokenise = _tokenise_with(tokenizer)
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
    return Layout.build(_tokenise_with(tokenizer), bos, task.primer, task.anchor, list(task.labels.values()))


def _tokenise_with(tokenizer: PreTrainedTokenizerBase) -> Tokenise:
    def tokenise(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return tokenise


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
