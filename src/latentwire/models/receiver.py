"""A frozen language model that reads a wire: embeddings in, log-likelihoods out.

Shapes: B batch, L positions, N of them, D width of embeddings or hidden states, V vocabulary, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig

from latentwire.errors import ConfigurationError
from latentwire.models.layout import Layout, Prompt, compose_prompt
from latentwire.models.loading import FrozenModel, tokenise_plain
from latentwire.models.pieces import tokenise_text
from latentwire.models.prefix import Prefix, keeps_keys_and_values, read_prefix
from latentwire.models.unseen_words import word_tokens

MIN_LOGIT_ROWS = 8
"""Rows that the output layer is given at least."""
BETWEEN_EXAMPLES = "\n\n"
"""What stands between a solved example and the next prompt."""


class Receiver:
    """A frozen model with the layout of one task."""

    def __init__(self, frozen: FrozenModel, primer: str, anchor: str, answers: Sequence[str]) -> None:
        """Tokenise the words of the task.

        Raises:
            ConfigurationError: An answer changes the tokens of the anchor (see `Layout.build`).
        """
        self.name = frozen.name
        self.width = frozen.embedding_width
        self._model = frozen.model
        self._tokenizer = frozen.tokenizer
        self._primer, self._anchor = primer, anchor
        self.layout = Layout.build(self.tokenise, frozen.bos_id, primer, anchor, answers)
        self.shares_prefix = keeps_keys_and_values(self._model)
        """Whether BOS and primer are read once for all prompts, and not anew in each."""

    @property
    def vocabulary(self) -> int:
        """Rows of its embedding table."""
        table: Tensor = self._model.get_input_embeddings().weight  # type: ignore[assignment]
        return len(table)

    def linear_layers(self, names: Sequence[str]) -> dict[str, nn.Linear]:
        """Path → layer, for every linear layer inside the model whose own name is one of `names`.

        Raises:
            ConfigurationError: No layer has one of the names.
        """
        return find_linear_layers(self.name, self._model, names)

    @property
    def config(self) -> PretrainedConfig:
        """The settings of its language model."""
        return self._model.config.get_text_config()

    def parameters(self) -> Iterator[Tensor]:
        """The frozen weights."""
        return iter(self._model.parameters())

    def tokenise(self, text: str) -> list[int]:
        """Token ids of a text without special tokens."""
        return tokenise_plain(self._tokenizer, text)

    def tokenise_text(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Token ids of an example's text as it stands after the primer, the first `max_tokens` of them."""
        return tokenise_text(self.tokenise, self._primer, text)[:max_tokens]

    def show_examples(self, texts: Sequence[str], golds: Sequence[int], max_tokens: int) -> Receiver:
        """The same model with solved examples between BOS and primer of every prompt, each laid out as a prompt is.

        Args:
            texts: Texts of the examples; the first `max_tokens` tokens of each are shown.
            golds: Positions of their labels among those of the task.
            max_tokens: Most tokens of a text.
        """
        parts, between = self.layout, self.tokenise(BETWEEN_EXAMPLES)
        shown = [
            (*parts.primer, *self.tokenise_text(text, max_tokens), *parts.anchor, *parts.answers[gold], *between)
            for text, gold in zip(texts, golds, strict=True)
        ]
        other = copy(self)
        other.layout = replace(parts, primer=(*chain.from_iterable(shown), *parts.primer))
        other.__dict__.pop("_prefix", None)  # keys and values of the beginning without them
        return other

    def answer_tokens(self, words: Sequence[str]) -> list[int]:
        """The one token of each word as an answer after the anchor; see `word_tokens`."""
        return word_tokens(self.name, self.tokenise, self._primer, self._anchor, words)

    def count_text_bytes(self, text: str, max_tokens: int) -> int:
        """UTF-8 bytes of what is read of a text; the space after the primer says nothing of the example."""
        return len(self.decode(self.tokenise_text(text, max_tokens)).lstrip().encode())

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(ids)))

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [N] → the model's own input embeddings [N, D], with its scaling if it has one."""
        embeddings: Tensor = self._model.get_input_embeddings()(ids)
        return embeddings

    def embed_texts(self, texts: Sequence[str], max_tokens: int) -> list[Tensor]:
        """Per text the embeddings [T, D] of its first `max_tokens` tokens after the primer."""
        return [self.embed(torch.tensor(self.tokenise_text(t, max_tokens), dtype=torch.long)) for t in texts]

    @torch.no_grad()
    def embedding_rms(self) -> float:
        """Median over the vocabulary of the root mean square of a row of the embedding table."""
        table: Tensor = self._model.get_input_embeddings().weight  # type: ignore[assignment]
        chunks = torch.arange(len(table)).split(16384)
        squares = torch.cat([self.embed(ids).float().square().mean(-1) for ids in chunks])
        # The root of the median is the median of the roots; `torch.sqrt` has other bits on each vendor's processors.
        return math.sqrt(float(squares.median()))

    def prompt(self, middle: Sequence[Tensor], answers: Sequence[Sequence[int]]) -> Prompt:
        """Compose a batch with this receiver's layout; see `compose_prompt`."""
        return compose_prompt(self.layout, self.embed, middle, answers)

    def log_probabilities(self, prompt: Prompt, rows: Tensor, columns: Tensor) -> Tensor:
        """Float32 log-probabilities [N, V] of the token that follows each of N positions of a composed batch.

        The model's own forward computes them, with whatever its family does to its logits: scaling, capping, bias. Only
        the positions that are needed come to its output layer: the vocabulary is most of a small model's work.
        """
        done = prompt.shared if self.shares_prefix else 0
        past = self._prefix.expand(len(prompt.mask)) if done else None
        with _keep_positions(self._model.get_decoder(), rows, columns - done):
            # Padding is on the right: each family counts the positions before it as it does for a text alone.
            output = self._model(
                inputs_embeds=prompt.embeddings[:, done:],
                attention_mask=prompt.mask.long(),
                use_cache=past is not None,
                **({} if past is None else {"past_key_values": past}),
            )
        logits: Tensor = output.logits[0, : len(rows)]
        return F.log_softmax(logits.float(), dim=-1)

    @cached_property
    def _prefix(self) -> Prefix:
        with torch.no_grad():
            return read_prefix(self._model, self.embed(torch.tensor(self.layout.bos + self.layout.primer)))

    def log_probabilities_of_ids(self, ids: Tensor) -> Tensor:
        """What the model itself says of token ids [L]: log-probabilities [L, V], without anything of this class."""
        output = self._model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], use_cache=False)
        return F.log_softmax(output.logits[0].float(), dim=-1)

    def answer_log_likelihoods(self, middle: Sequence[Tensor], answers: Sequence[Sequence[int]]) -> Tensor:
        """Summed log-likelihood [B] of each example's answer; position t predicts the token at t + 1, once."""
        prompt = self.prompt(middle, [answer[:-1] for answer in answers])
        lengths = torch.tensor([len(answer) for answer in answers])
        rows = torch.arange(len(answers)).repeat_interleave(lengths)
        within = torch.cat([torch.arange(length) for length in lengths.tolist()])
        columns = (prompt.mask.sum(dim=1) - lengths)[rows] + within
        log_p = self.log_probabilities(prompt, rows, columns)
        targets = torch.tensor([token for answer in answers for token in answer])
        chosen = log_p.gather(1, targets[:, None]).squeeze(1)
        return torch.zeros(len(answers)).index_add(0, rows, chosen)

    def next_token(self, middle: Sequence[Tensor], answers: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities [B, V] of the token that follows each (partial) answer."""
        prompt = self.prompt(middle, answers)
        last = prompt.mask.sum(dim=1) - 1
        return self.log_probabilities(prompt, torch.arange(len(answers)), last)

    def label_log_likelihoods(self, middle: Sequence[Tensor], words: Sequence[int] = ()) -> Tensor:
        """Summed log-likelihood [B, C + K] of every label's answer, and of K other tokens in its place.

        Labels of one token and all other tokens come from one forward.
        """
        if self.layout.one_token_answers:
            ids = torch.tensor([*(answer[0] for answer in self.layout.answers), *words])
            return self.next_token(middle, [()] * len(middle))[:, ids]
        columns = [self.answer_log_likelihoods(middle, [answer] * len(middle)) for answer in self.layout.answers]
        others = [self.next_token(middle, [()] * len(middle))[:, torch.tensor(words)]] if words else []
        return torch.cat([torch.stack(columns, dim=1), *others], dim=1)

    @torch.no_grad()
    def generate(self, middle: Sequence[Tensor], tokens: int) -> list[tuple[int, ...]]:
        """Greedy continuation of `tokens` tokens per example, through the same composer as every loss."""
        answers: list[tuple[int, ...]] = [()] * len(middle)
        for _ in range(tokens):
            best = self.next_token(middle, answers).argmax(dim=1).tolist()
            answers = [(*answer, token) for answer, token in zip(answers, best, strict=True)]
        return answers


@contextmanager
def _keep_positions(decoder: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Within, the decoder gives its last hidden states [1, N, D] at N positions instead of all of them [B, L, D]."""

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = output.last_hidden_state[rows, columns]
        # The kernels for a few rows sum in another order than those for many (measured: below 4 with MKL). A row's
        # numbers must not depend on how many others come with it.
        padded = F.pad(hidden, (0, 0, 0, max(0, MIN_LOGIT_ROWS - len(hidden))))
        output.last_hidden_state = padded.contiguous()[None]
        return output

    hook = decoder.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def find_linear_layers(model_name: str, model: nn.Module, names: Sequence[str]) -> dict[str, nn.Linear]:
    """Path → layer, for every linear layer inside a model whose own name is one of `names`.

    Raises:
        ConfigurationError: No layer has one of the names.
    """
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    known = {path.rpartition(".")[2] for path in layers}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"Model {model_name} has no linear layer named {name}; it has {', '.join(sorted(known)) or 'none'}. "
                "Next: name others in `targets` of the method in params.yaml."
            )
    return {path: layer for path, layer in layers.items() if path.rpartition(".")[2] in names}
