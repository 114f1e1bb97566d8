"""Label scores of every family are those of its own forward in `transformers`, logits scaled and capped as it does."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from latentwire.doctor.memory import plan_memory
from latentwire.errors import ConfigurationError
from latentwire.models import receiver as receiver_module
from latentwire.models.loading import load_model
from latentwire.models.prefix import Prefix
from latentwire.models.reading_checks import check_reading
from latentwire.models.receiver import Receiver
from latentwire.params.load import parse_params
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.run import tiny_params
from latentwire.rehearsal.tiny import ANCHOR, PRIMER, tiny_causal_model
from latentwire.yaml_files import read_yaml

ROOT = Path(__file__).parents[3]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "granite": ("sdpa", SHAPE | {"logits_scaling": 8.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    "cohere": ("sdpa", SHAPE | {"logit_scale": 0.25}),
    "cohere2": ("sdpa", SHAPE | {"logit_scale": 0.25, "head_dim": 8}),
    "gemma2": ("eager", SHAPE | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, "head_dim": 8}),
    "gpt_neo": ("eager", {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]}),
    "bloom": ("eager", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}),
    "llama": ("sdpa", SHAPE),
    "qwen2": ("sdpa", SHAPE),
    "gpt2": ("sdpa", {"n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}),
    "gptj": ("eager", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "initializer_range": 0.2}),
    "mpt": ("eager", {"d_model": 32, "n_layers": 2, "n_heads": 4, "initializer_range": 0.2}),
    "opt": ("sdpa", SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 16}),
    # Windows of which a prompt is longer than one.
    "mistral": ("sdpa", SHAPE | {"sliding_window": 4}),
    "gemma3_text": ("sdpa", SHAPE | {"sliding_window": 4, "head_dim": 8}),
    "mamba": ("eager", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}
WITHOUT_KEYS_AND_VALUES = ("mamba",)
SCALED = ("granite", "cohere", "cohere2", "gemma2")
TEXTS = ["one night in the meadow.", "snow", "the morning was over, and then the storm"]
LABELS = [" dark", " light night", " was under the window"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → the folder of a random model of it, made once."""
    root = tmp_path_factory.mktemp("families")
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_causal_model(root / "tokenizer")["local"]))

    def folder(family: str) -> Path:
        if not (root / family).is_dir():
            special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
            config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **FAMILIES[family][1], **special)
            torch.manual_seed(3)
            AutoModelForCausalLM.from_config(config).save_pretrained(root / family)
            tokenizer.save_pretrained(root / family)
        return root / family

    return folder


@pytest.fixture
def made(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Receiver:
    frozen = load_model(request.param, LocalModel(local=str(folders(request.param))), dtype="float32")
    # `transformers` reads the same tokenizer as another class for some families.
    tokenizer = AutoTokenizer.from_pretrained(folders("llama"))
    return Receiver(dataclasses.replace(frozen, tokenizer=tokenizer, bos_id=None), PRIMER, ANCHOR, LABELS)


every_family = pytest.mark.parametrize("made", FAMILIES, indirect=True)


def by_the_library(receiver: Receiver, text: str, folder: Path) -> torch.Tensor:
    """Log-likelihoods [C] of the labels from ids, by a model that `transformers` alone has loaded."""
    own = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    before = [*receiver.layout.bos, *receiver.layout.primer, *receiver.tokenise_text(text), *receiver.layout.anchor]
    scores = []
    for answer in receiver.layout.answers:
        with torch.no_grad():
            log_p = own(input_ids=torch.tensor([[*before, *answer]])).logits[0].log_softmax(dim=-1)
        scores.append(sum(log_p[len(before) - 1 + t, token] for t, token in enumerate(answer)))
    return torch.stack([torch.as_tensor(score) for score in scores])


@every_family
def test_label_scores_are_those_of_its_own_forward(made: Receiver, folders: Callable[[str], Path]) -> None:
    with torch.no_grad():
        ours = made.label_log_likelihoods(made.embed_texts(TEXTS, 100))
    expected = torch.stack([by_the_library(made, text, folders(made.name)) for text in TEXTS])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@every_family
def test_a_wire_is_scored_and_learns_through_the_model(made: Receiver) -> None:
    slots = made.embedding_rms() * torch.randn(2, 3, made.width, generator=torch.Generator().manual_seed(1))
    slots.requires_grad_()
    made.label_log_likelihoods(list(slots)).sum().backward()
    assert slots.grad is not None
    assert (slots.grad.abs().sum(dim=-1) > 0).all()


@every_family
def test_it_passes_the_check_at_loading(made: Receiver) -> None:
    check_reading(made, english=False)


@every_family
def test_the_beginning_is_read_once_by_all_that_remember_keys_and_values(
    made: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        check_reading(made, english=False)
    assert made.shares_prefix == (made.name not in WITHOUT_KEYS_AND_VALUES)
    assert (f"Receiver {made.name} reads BOS and primer anew" in caplog.text) == (not made.shares_prefix)


@pytest.mark.parametrize("made", ["llama"], indirect=True)
def test_a_cache_that_gives_other_numbers_is_not_used(
    made: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A family that forgets what its cache holds."""
    honest = receiver_module.read_prefix

    def forgetful(model: Any, embeddings: torch.Tensor) -> Prefix:
        return Prefix(tuple((0 * k, 0 * v) for k, v in honest(model, embeddings).layers))

    monkeypatch.setattr(receiver_module, "read_prefix", forgetful)
    with caplog.at_level(logging.INFO):
        check_reading(made, english=False)
    assert not made.shares_prefix
    assert "its log-probabilities differ by" in caplog.text


@pytest.mark.parametrize("made", SCALED, indirect=True)
def test_a_head_that_forgets_the_scale_is_refused(made: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood here before: the decoder's states times the output matrix, and nothing of the family's own."""

    def bare(self: Receiver, prompt: Any, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        states = self._model.get_decoder()(inputs_embeds=prompt.embeddings).last_hidden_state[rows, columns]
        return F.log_softmax(self._model.get_output_embeddings()(states), dim=-1)

    monkeypatch.setattr(receiver_module.Receiver, "log_probabilities", bare)
    with pytest.raises(ConfigurationError, match=rf"Model {made.name} does not read vectors as it reads token ids"):
        check_reading(made, english=False)


@pytest.mark.parametrize("made", ["llama"], indirect=True)
def test_embeddings_that_the_model_does_not_read_are_refused(made: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "embed", lambda ids: 1.01 * Receiver.embed(made, ids))
    with pytest.raises(ConfigurationError, match=r"differ by .* nats .* expected at most 0\.0001.*Next: name a"):
        check_reading(made, english=False)


@pytest.mark.parametrize("made", ["llama"], indirect=True)
def test_a_model_that_does_no_better_than_guessing_is_refused(made: Receiver) -> None:
    with pytest.raises(ConfigurationError, match=r"llama does not read English: its loss .* less than 4\.\d\d, which"):
        check_reading(made, english=True)


@pytest.mark.parametrize("made", ["llama"], indirect=True)
def test_no_number_at_all_is_refused(made: Receiver) -> None:
    next(made.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigurationError, match="differ by nan nats"):
        check_reading(made, english=False)


@every_family
def test_the_attention_is_what_the_family_has(
    made: Receiver, folders: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = FAMILIES[made.name]
    with caplog.at_level(logging.INFO):
        loaded = load_model(made.name, LocalModel(local=str(folders(made.name))))
    assert loaded.model.config._attn_implementation == expected
    said = f"Model {made.name} of family {made.name} computes attention in single steps (eager)"
    assert (said in caplog.text) == (expected == "eager")


@every_family
def test_only_positions_that_are_needed_come_to_the_output_layer(made: Receiver) -> None:
    seen: list[int] = []
    head: nn.Module = made._model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[:-1].numel()))
    with torch.no_grad():
        made.next_token(made.embed_texts(TEXTS, 100), [()] * 3)
    hook.remove()
    assert seen == [receiver_module.MIN_LOGIT_ROWS]
    assert not made._model.get_decoder()._forward_hooks


@pytest.mark.parametrize("family", ["bloom", "gemma2", "gpt2", "gpt_neo", "mpt", "opt"])
def test_its_memory_can_be_planned(family: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = dict(tiny_params(read_yaml(ROOT / "params.yaml"), tmp_path))
    chosen["models"] = {**chosen["models"], "llama": {"local": str(folders(family))}}
    (activations,) = (p for p in plan_memory(parse_params(chosen, "test"), tmp_path).parts if p.name == "activations")
    assert activations.bytes > 0
