"""Words that a receiver is asked for though no training names them: each has to be one token of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from latentwire.errors import ConfigurationError
from latentwire.models.layout import Layout
from latentwire.models.loading import tokenise_plain
from latentwire.models.pieces import Tokenise
from latentwire.models.prompts import Reader
from latentwire.params.load import Params


def word_tokens(name: str, tokenise: Tokenise, primer: str, anchor: str, words: Sequence[str]) -> list[int]:
    """The token of each word as an answer after the anchor.

    Raises:
        ConfigurationError: A word is several tokens, or changes those of the anchor.
    """
    answers = Layout.build(tokenise, None, primer, anchor, words).answers
    for word, answer in zip(words, answers, strict=True):
        if len(answer) != 1:
            raise ConfigurationError(
                f"The unseen word {word!r} is the tokens {list(answer)} for {name}; expected one, since unseen words "
                "are read from the distribution of the next token. Next: choose another word in tasks.*.unseen of "
                "params.yaml."
            )
    return [answer[0] for answer in answers]


def check_unseen_words(values: Params, readers: Mapping[str, Reader]) -> None:
    """Check the unseen words of every task for every receiver, by its tokenizer.

    Raises:
        ConfigurationError: A word is several tokens, or the same as another word of its set or as a label.
    """
    for task in values.prepare.tasks:
        for name, (tokenizer, _) in readers.items():
            _check_sets(values, task, name, partial(tokenise_plain, tokenizer))


def _check_sets(values: Params, task: str, name: str, tokenise: Tokenise) -> None:
    said = values.tasks[task]
    trained = Layout.build(tokenise, None, said.primer, said.anchor, list(said.labels.values())).answers
    for words in said.unseen:
        asked = [(token,) for token in word_tokens(name, tokenise, said.primer, said.anchor, list(words.values()))]
        if len({*asked, *trained}) != len(asked) + len(trained):
            raise ConfigurationError(
                f"Of the unseen words {', '.join(map(repr, words.values()))} of task {task}, two are the same token "
                f"for {name}, or one is that of a label. Next: choose other words in tasks.{task}.unseen of "
                "params.yaml."
            )
