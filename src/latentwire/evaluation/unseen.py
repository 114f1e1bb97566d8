"""Wires that are asked for words which no training named: whether they carry a meaning, or the labels' own words.

Shapes: N examples, C labels, U sets of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from latentwire.evaluation.predictions import MethodScores
from latentwire.item import unseen_method


def unseen_scores(method: str, model: str, scores: Tensor, reference: Tensor, sets: int) -> Iterator[MethodScores]:
    """Scores [N, C] of every set of words, without what the receiver says of these words anyway.

    Args:
        method: The trained method.
        model: The receiver.
        scores: [N, U · C] log-likelihoods of the words, set by set, after the wires of the test texts.
        reference: [n, U · C] the same after wires of other texts, whose labels nobody looks at. Their mean is the
            prior: a word that is likely after any wire says nothing of one of them.
        sets: U.
    """
    for number, own in enumerate((scores - reference.mean(dim=0)).chunk(sets, dim=1), 1):
        yield MethodScores(unseen_method(method, number), model, own)


def flatten_words(unseen: Sequence[dict[str, str]], labels: Sequence[str]) -> list[str]:
    """The words of all sets, set by set, each in the order of the labels."""
    return [words[label] for words in unseen for label in labels]
