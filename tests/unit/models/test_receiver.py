"""What a frozen model computes from embeddings is what its own library computes from ids."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.models.receiver import Receiver

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


def row_of(receiver: Receiver, middle: Tensor, answer: tuple[int, ...]) -> Tensor:
    """One example's embeddings [L, D] put together by hand."""
    before = torch.tensor([*receiver.layout.bos, *receiver.layout.primer])
    after = torch.tensor([*receiver.layout.anchor, *answer])
    return torch.cat([receiver.embed(before), middle, receiver.embed(after)])


def test_text_as_embeddings_reads_like_text_as_ids(receiver: Receiver) -> None:
    text = "one night in the meadow."
    ids = torch.tensor(
        [*receiver.layout.bos, *receiver.layout.primer, *receiver.tokenise_text(text), *receiver.layout.anchor]
    )
    with torch.no_grad():
        logits = receiver._model(input_ids=ids[None]).logits[0, -1]
        scored = receiver.next_token(receiver.embed_texts([text], 100), [()])[0]
    torch.testing.assert_close(scored, F.log_softmax(logits, dim=-1), **TOLERANCE)


def test_loss_is_the_library_loss_with_one_shift(receiver: Receiver, middle: list[Tensor]) -> None:
    answer = (3, 9, 5)
    for slots in middle:
        row = row_of(receiver, slots, answer)
        labels = torch.full((1, len(row)), -100)
        labels[0, -3:] = torch.tensor(answer)
        with torch.no_grad():
            library = receiver._model(inputs_embeds=row[None], labels=labels).loss
            ours = -receiver.answer_log_likelihoods([slots], [answer])[0] / 3
        torch.testing.assert_close(ours, library, **TOLERANCE)


def test_loss_is_the_cross_entropy_written_by_hand(receiver: Receiver, middle: list[Tensor]) -> None:
    answer, slots = (3, 9, 5), middle[0]
    row = row_of(receiver, slots, answer)
    with torch.no_grad():
        log_p = receiver._model(inputs_embeds=row[None]).logits[0].log_softmax(dim=-1)
        by_hand = sum(log_p[len(row) - 4 + t, token] for t, token in enumerate(answer))
        shifted_twice = sum(log_p[len(row) - 5 + t, token] for t, token in enumerate(answer))
        ours = receiver.answer_log_likelihoods([slots], [answer])[0]
    torch.testing.assert_close(ours, torch.as_tensor(by_hand), **TOLERANCE)
    assert abs(float(ours) - float(shifted_twice)) > 1e-3


def test_alone_or_in_a_padded_batch_is_the_same(receiver: Receiver, middle: list[Tensor]) -> None:
    answers = [(3,), (9, 5), (4, 4, 8)]
    with torch.no_grad():
        together = receiver.answer_log_likelihoods(middle, answers)
        alone = [receiver.answer_log_likelihoods([m], [a]) for m, a in zip(middle, answers, strict=True)]
        scores = receiver.label_log_likelihoods(middle)
        scores_alone = [receiver.label_log_likelihoods([m]) for m in middle]
    torch.testing.assert_close(together, torch.cat(alone), **TOLERANCE)
    torch.testing.assert_close(scores, torch.cat(scores_alone), **TOLERANCE)


def test_no_gradient_reaches_padding(receiver: Receiver, middle: list[Tensor]) -> None:
    prompt = receiver.prompt(middle, [(3,), (9,), (4,)])
    embeddings = prompt.embeddings.clone().requires_grad_()
    changed = type(prompt)(embeddings, prompt.mask, prompt.shared)
    receiver.log_probabilities(changed, torch.arange(3), prompt.mask.sum(dim=1) - 1)[:, 4].sum().backward()
    assert embeddings.grad is not None
    assert (embeddings.grad[~prompt.mask] == 0).all()
    assert (embeddings.grad[prompt.mask].abs().sum(dim=1) > 0).any()


def test_what_stands_at_padding_changes_nothing(receiver: Receiver, middle: list[Tensor]) -> None:
    prompt = receiver.prompt(middle, [()] * 3)
    noisy = torch.where(prompt.mask[..., None], prompt.embeddings, torch.tensor(7.0))
    rows, columns = torch.nonzero(prompt.mask, as_tuple=True)
    rows, columns = rows[columns >= prompt.shared], columns[columns >= prompt.shared]
    with torch.no_grad():
        clean, dirty = (
            receiver.log_probabilities(type(prompt)(e, prompt.mask, prompt.shared), rows, columns)
            for e in (prompt.embeddings, noisy)
        )
    torch.testing.assert_close(clean, dirty, rtol=0, atol=1e-6)


def test_a_beginning_that_was_read_before_changes_no_score_and_no_gradient(
    receiver: Receiver, middle: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves, answers = [rows.clone().requires_grad_() for rows in middle], [(3,), (9, 5), (4, 4, 8)]
    assert receiver.shares_prefix

    def compute() -> list[Tensor]:
        scores = receiver.label_log_likelihoods(leaves), receiver.answer_log_likelihoods(leaves, answers)
        return [*scores, *torch.autograd.grad(scores[0].sum() + scores[1].sum(), leaves)]

    before = compute()
    monkeypatch.setattr(receiver, "shares_prefix", False)
    for first, second in zip(before, compute(), strict=True):
        torch.testing.assert_close(first, second, **TOLERANCE)


def test_the_beginning_is_read_once(receiver: Receiver, middle: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(receiver, "_prefix", raising=False)
    seen: list[tuple[int, ...]] = []
    hook = receiver._model.get_decoder().register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    for _ in range(2):
        receiver.next_token(middle, [()] * 3)
    hook.remove()
    beginning = len(receiver.layout.bos) + len(receiver.layout.primer)
    assert seen == [(1, beginning), *[(3, 7 + len(receiver.layout.anchor))] * 2]


def test_end_token_is_supervised_where_it_is_the_padding_token(receivers: dict[str, Receiver]) -> None:
    receiver = receivers["llama"]
    end = receiver._model.config.eos_token_id
    assert end == receiver._model.config.pad_token_id
    slots = [torch.zeros(n, receiver.width) for n in (2, 4)]
    with torch.no_grad():
        without = receiver.answer_log_likelihoods(slots, [(3,), (3,)])
        with_end = receiver.answer_log_likelihoods(slots, [(3, end), (3, end)])
    assert (with_end < without).all()


def test_one_token_labels_score_as_any_others(receiver: Receiver, middle: list[Tensor]) -> None:
    assert receiver.layout.one_token_answers
    with torch.no_grad():
        fast = receiver.label_log_likelihoods(middle)
        slow = [receiver.answer_log_likelihoods(middle, [answer] * 3) for answer in receiver.layout.answers]
    torch.testing.assert_close(fast, torch.stack(slow, dim=1), **TOLERANCE)


@pytest.mark.long
def test_an_overfitted_wire_makes_the_receiver_say_its_string(receiver: Receiver) -> None:
    """Fails when labels are shifted twice, and when training and generation compose differently."""
    answer = (3, 9, 5, 12)
    torch.manual_seed(0)
    wire = nn.Parameter(receiver.embedding_rms() * torch.randn(6, receiver.width))
    optimizer = torch.optim.Adam([wire], lr=0.1 * receiver.embedding_rms())
    for _ in range(300):
        loss = -receiver.answer_log_likelihoods([wire], [answer]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert receiver.generate([wire.detach()], len(answer)) == [answer]
    assert float(loss.detach()) / len(answer) < math.log(receiver._model.config.vocab_size)


def test_embedding_rms_is_of_the_embeddings_that_the_model_reads(receiver: Receiver) -> None:
    table = receiver._model.get_input_embeddings().weight.float()
    scale = math.sqrt(receiver.width) if receiver.name == "gemma3_text" else 1.0
    expected = scale * float(table.square().mean(dim=1).sqrt().median())
    assert receiver.embedding_rms() == pytest.approx(expected, rel=1e-3)


def test_shown_examples_stand_before_the_prompt_as_prompts_with_their_answers(receiver: Receiver) -> None:
    texts, golds = ["one night in the meadow.", "the river"], [1, 0]
    shown = receiver.show_examples(texts, golds, 3)
    parts, between = receiver.layout, receiver.tokenise("\n\n")
    by_hand = list(parts.bos)
    for text, gold in zip(texts, golds, strict=True):
        by_hand += [*parts.primer, *receiver.tokenise_text(text)[:3], *parts.anchor, *parts.answers[gold], *between]
    asked = receiver.tokenise_text("a stone")
    ids = torch.tensor([*by_hand, *parts.primer, *asked, *parts.anchor])
    with torch.no_grad():
        logits = receiver._model(input_ids=ids[None]).logits[0, -1]
        scored = shown.next_token(shown.embed_texts(["a stone"], 100), [()])[0]
        plain = receiver.next_token(receiver.embed_texts(["a stone"], 100), [()])[0]
    torch.testing.assert_close(scored, F.log_softmax(logits, dim=-1), **TOLERANCE)
    assert not torch.allclose(scored, plain, **TOLERANCE), "the receiver without examples reads its own beginning"
