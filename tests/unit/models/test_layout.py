"""The one composer: every path sees the same layout, labels shift once, padding is nowhere (invariant I10)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentwire.errors import ConfigurationError
from latentwire.models import receiver as receiver_module
from latentwire.models.layout import Layout, LayoutState, Prompt, compose_prompt
from latentwire.models.receiver import Receiver
from latentwire.rehearsal.tiny import ANCHOR, LABELS, PRIMER


def ids_of(receiver: Receiver, prompt: Prompt, row: int) -> list[int]:
    """Token ids of a composed row, found by looking each embedding up in the table; -1 where it is no token's."""
    table = receiver.embed(torch.arange(receiver._model.config.vocab_size))
    return [
        int(match[0]) if len(match := (table == vector).all(dim=1).nonzero().flatten()) else -1
        for vector in prompt.embeddings[row][prompt.mask[row]]
    ]


def record_prompts(monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """The prompts that are composed from now on."""
    seen: list[Prompt] = []

    def recorded(*arguments: Any) -> Prompt:
        seen.append(compose_prompt(*arguments))
        return seen[-1]

    monkeypatch.setattr(receiver_module, "compose_prompt", recorded)
    return seen


def test_segments_come_in_order(receiver: Receiver, middle: list[torch.Tensor]) -> None:
    layout, answer = receiver.layout, receiver.layout.answers[0]
    prompt = receiver.prompt(middle, [answer] * 3)
    for row, slots in enumerate(middle):
        expected = [*layout.bos, *layout.primer, *[-1] * len(slots), *layout.anchor, *answer]
        assert ids_of(receiver, prompt, row) == expected


def test_only_a_model_whose_convention_it_is_gets_a_bos(receivers: dict[str, Receiver]) -> None:
    assert receivers["llama"].layout.bos == ()
    assert len(receivers["gemma3_text"].layout.bos) == 1


def test_loss_score_and_generation_compose_the_same_prompt(
    receiver: Receiver, middle: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_prompts(monkeypatch)
    receiver.answer_log_likelihoods(middle, [receiver.layout.answers[0]] * 3)
    receiver.label_log_likelihoods(middle)
    receiver.generate(middle, 1)
    loss, score, generation = seen
    torch.testing.assert_close(score.embeddings, generation.embeddings, rtol=0, atol=0)
    for row in range(3):
        trained, asked = loss.embeddings[row][loss.mask[row]], score.embeddings[row][score.mask[row]]
        torch.testing.assert_close(trained[: len(asked)], asked, rtol=0, atol=0)


def test_the_last_token_of_an_answer_has_no_position(
    receiver: Receiver, middle: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_prompts(monkeypatch)
    receiver.answer_log_likelihoods(middle, [(4,), (5, 6), (7, 8, 9)])
    layout, (prompt,) = receiver.layout, seen
    for row, said in enumerate([(), (5,), (7, 8)]):
        expected = [*layout.bos, *layout.primer, *[-1] * len(middle[row]), *layout.anchor, *said]
        assert ids_of(receiver, prompt, row) == expected


def test_the_shared_beginning_is_bos_and_primer(receiver: Receiver, middle: list[torch.Tensor]) -> None:
    layout, prompt = receiver.layout, receiver.prompt(middle, [()] * 3)
    assert ids_of(receiver, prompt, 0)[: prompt.shared] == [*layout.bos, *layout.primer]


def test_padding_is_zero_and_masked(receiver: Receiver, middle: list[torch.Tensor]) -> None:
    prompt = receiver.prompt(middle, [()] * 3)
    assert not prompt.mask.all()
    assert (prompt.embeddings[~prompt.mask] == 0).all()


def test_an_answer_that_changes_the_anchor_is_refused() -> None:
    merged = {"a": [7], "Mood:": [1, 2], "a Mood:": [7, 1, 2], "a Mood: dark": [7, 1, 3]}
    with pytest.raises(ConfigurationError, match=r"'Mood:' is tokens \[1, 2\] alone but \[1, 3\] before"):
        Layout.build(merged.__getitem__, None, "Mood:", "Mood:", [" dark"])


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="followed by those of the answer"):
        Layout.build(lambda text: [1], None, "", "Mood:", [""])


def test_answers_are_the_rest_of_joint_tokens(receiver: Receiver) -> None:
    for said, answer in zip(LABELS.values(), receiver.layout.answers, strict=True):
        assert receiver.tokenise(ANCHOR + said) == [*receiver.layout.anchor, *answer]
    assert receiver.tokenise(PRIMER) == list(receiver.layout.primer)


def test_another_layout_than_the_stored_one_is_refused(receiver: Receiver) -> None:
    stored = LayoutState({"tiny": receiver.layout}).state_dict()
    LayoutState({"tiny": receiver.layout}).load_state_dict(stored)
    other = Layout(receiver.layout.bos, (0,), receiver.layout.anchor, receiver.layout.answers)
    with pytest.raises(ConfigurationError, match="The prompt layout of receiver 'tiny' is"):
        LayoutState({"tiny": other}).load_state_dict(stored)
