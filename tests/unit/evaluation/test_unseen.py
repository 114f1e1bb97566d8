"""Scores of unseen words: the prior is gone, and with it a receiver's liking of one word."""

from __future__ import annotations

import torch

from latentwire.evaluation.unseen import flatten_words, unseen_scores


def test_the_prior_is_the_mean_over_other_texts_and_sets_keep_their_order() -> None:
    scores, reference = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[0.0, 2, 2, 2], [2, 0, 2, 4]])
    first, second = unseen_scores("wire", "m", scores, reference, 2)
    assert (first.method, second.method, first.model) == ("wire-unseen-1", "wire-unseen-2", "m")
    assert first.scores.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert second.scores.tolist() == [[1.0, 1.0], [5.0, 5.0]]


def test_a_word_that_a_receiver_always_prefers_does_not_win() -> None:
    labels = torch.arange(40) % 2
    meaning = torch.nn.functional.one_hot(labels, 2).float()
    liking = torch.tensor([0.0, 9.0])
    (found,) = unseen_scores("wire", "m", meaning + liking, meaning[:20] + liking, 1)
    assert (meaning + liking).argmax(dim=1).eq(1).all()
    assert found.scores.argmax(dim=1).eq(labels).all()


def test_words_stand_set_by_set_in_the_order_of_the_labels() -> None:
    sets = [{"b": " bad", "a": " awful"}, {"a": " gain", "b": " loss"}]
    assert flatten_words(sets, ["a", "b"]) == [" awful", " bad", " gain", " loss"]
