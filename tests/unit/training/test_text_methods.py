"""Methods whose receivers read the text: what is trained, where it begins, and that it is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from latentwire.errors import ConfigurationError
from latentwire.evaluation.scoring import generate_texts, score_messages, score_texts, write_messages
from latentwire.models.lora import Lora
from latentwire.models.methods import AnyMethod
from latentwire.models.prompt_tuning import PromptTuning, draw_prompt
from latentwire.models.receiver import Receiver
from latentwire.training import shard_batching
from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer
from latentwire.training.throughput import Throughput
from latentwire.training.validation import Validation
from tests.support.scarce_memory import gradient_bytes
from tests.support.tiny_receivers import make_receiver

TOKENS = 6
TEXTS = tuple(f"one night in the {'meadow and the cave ' * (number % 3)}number {number}." for number in range(24))


def make_prompts(reader: Receiver) -> AnyMethod:
    return PromptTuning({reader.name: draw_prompt(reader, 3)}, TOKENS)


def make_lora(reader: Receiver) -> AnyMethod:
    return Lora([reader], ["q_proj", "v_proj"], 2, 4.0, TOKENS)


@pytest.fixture(params=[make_prompts, make_lora])
def text_trainer(request: pytest.FixtureRequest, trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """As `trainer`, with a receiver of its own, whose layers a method may change."""
    reader = make_receiver(tmp_path_factory.mktemp("model"))
    torch.manual_seed(0)
    make: Callable[[Receiver], AnyMethod] = request.param
    method, data = make(reader), replace(trainer.data, texts=TEXTS)
    return replace(trainer, method=method.train(), receivers=[method.adapt(reader)], data=data)


def train(trainer: Trainer, steps: int) -> None:
    optimizer, gradients = trainer.make_optimizer(), Exact(trainer)
    for step in range(1, steps + 1):
        for parameter, gradient in zip(trainer.method.parameters(), gradients(step)[0], strict=True):
            parameter.grad = gradient
        optimizer.step()


def test_shards_are_read_one_by_one_and_every_parameter_learns(text_trainer: Trainer) -> None:
    assert shard_batching.try_batching(Exact(text_trainer), 1).shards_per_pass == 1
    train(text_trainer, 1)  # the lower half of an update has no gradient before the upper one is other than 0
    gradients, means = Exact(text_trainer)(2)
    assert sorted(means) == ["loss", "token_ce/llama"]
    assert [gradient.shape for gradient in gradients if not gradient.abs().sum()] == []
    assert all(parameter.dtype == torch.float32 for parameter in text_trainer.method.parameters())


def test_any_pass_gives_the_bytes_of_another(text_trainer: Trainer) -> None:
    alone = gradient_bytes(Exact(text_trainer)(3))
    for size in (2, 4):
        assert gradient_bytes(Exact(text_trainer, shards_per_pass=size)(3)) == alone
    torch.testing.assert_close(Throughput(text_trainer)(3)[0], Exact(text_trainer)(3)[0])


def test_gradients_are_those_of_the_loss_through_everything(text_trainer: Trainer) -> None:
    method, (reader,) = text_trainer.method, text_trainer.receivers
    batch, found = text_trainer.shard(1, 0), Exact(text_trainer).compute_shards(1, [0])[0]
    answers = [reader.layout.answers[label] for label in batch.labels.tolist()]
    loss = -reader.answer_log_likelihoods(method.read(batch.texts, reader), answers).mean()
    expected = torch.autograd.grad(loss, list(method.parameters()))
    torch.testing.assert_close(found.gradients, list(expected))


def test_training_lowers_the_loss_and_the_frozen_weights_stay(text_trainer: Trainer) -> None:
    text_trainer = replace(text_trainer, settings=text_trainer.settings.model_copy(update={"lr": 0.05}))
    frozen = [weight.clone() for weight in text_trainer.receivers[0].parameters()]
    first = float(Exact(text_trainer)(1)[1]["loss"])
    train(text_trainer, 8)
    assert float(Exact(text_trainer)(1)[1]["loss"]) < first
    held = list(text_trainer.receivers[0].parameters())
    assert all(torch.equal(a, b) for a, b in zip(frozen, held, strict=True))


def test_answers_do_not_depend_on_who_is_asked_beside(text_trainer: Trainer) -> None:
    method, (reader,) = text_trainer.method, text_trainer.receivers
    train(text_trainer, 2)
    sent = write_messages(method, text_trainer.data.inputs, range(9), 4)
    assert sent == list(TEXTS[:9])
    whole = score_messages(method, reader, sent, 9, lambda _: None)
    torch.testing.assert_close(score_messages(method, reader, sent, 2, lambda _: None), whole, rtol=0, atol=1e-5)
    assert method.select(sent, [1, 0]) == [TEXTS[1], TEXTS[0]]
    assert len(generate_texts(method, reader, sent[:2], 2)) == 2
    assert method.count_bytes(sent, [reader]) == [
        len(reader.decode(reader.tokenise_text(t, TOKENS)).strip()) for t in sent
    ]
    with pytest.raises(TypeError, match="sends no vectors"):
        method.vectors(sent)


def test_validation_measures_answers_alone(text_trainer: Trainer) -> None:
    validation = Validation(text_trainer.method, text_trainer.receivers, text_trainer.data, 9, 4)
    assert list(validation()) == ["accuracy/llama"]


def test_low_rank_updates_begin_as_the_frozen_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    reader, alone = (make_receiver(tmp_path_factory.mktemp("model")) for _ in range(2))
    method = make_lora(reader)
    adapted = method.adapt(reader)
    alone.shares_prefix = False
    with torch.no_grad():
        found = score_messages(method, adapted, TEXTS[:5], 5, lambda _: None)
        middle = alone.embed_texts(TEXTS[:5], TOKENS)
        assert torch.equal(found, alone.label_log_likelihoods(middle))
    torch.testing.assert_close(found, score_texts(alone, TEXTS[:5], TOKENS, 5, lambda _: None), rtol=0, atol=1e-5)


def test_the_state_is_all_that_is_trained(text_trainer: Trainer) -> None:
    method, (reader,) = text_trainer.method, text_trainer.receivers
    train(text_trainer, 2)
    trained = score_messages(method, reader, TEXTS[:5], 5, lambda _: None)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    train(text_trainer, 2)
    assert not torch.equal(score_messages(method, reader, TEXTS[:5], 5, lambda _: None), trained)
    method.load_state_dict(state)
    assert torch.equal(score_messages(method, reader, TEXTS[:5], 5, lambda _: None), trained)


def test_layers_that_a_receiver_does_not_have_are_a_sentence(reader: Receiver) -> None:
    with pytest.raises(ConfigurationError, match=r"llama has no linear layer named c_attn; it has .*q_proj.*Next: "):
        Lora([reader], ["q_proj", "c_attn"], 2, 4.0, TOKENS)


def test_prompts_begin_as_words_of_the_vocabulary(reader: Receiver) -> None:
    torch.manual_seed(1)
    drawn = draw_prompt(reader, 5)
    table = reader.embed(torch.arange(reader.vocabulary)).float()
    assert all((table == row).all(dim=1).any() for row in drawn)
    assert len(drawn.unique(dim=0)) > 1
