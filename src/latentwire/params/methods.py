"""Trained methods as `params.yaml` names them: one class for each kind, and what all kinds say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from latentwire.params.section import Distinct, Fraction, Name, Positive, Real, Section

OF_VECTORS = ("noise",)
"""Controls that need vectors, whose strength they take."""
HALF = 2
"""Bytes of a number as it is sent."""


class MethodSettings(Section):
    """What is the same for every kind of method; `latentwire.models.methods` computes by them."""

    sees: ClassVar[Mapping[str, bool]]
    """Whether it is given the `text` of an example or the sender's `features`, and the words of the `labels`."""
    receivers: Distinct[Name] = Field(min_length=1)
    """Names of models that answer."""

    @property
    def sent_vectors(self) -> int | None:
        """Vectors that a receiver is sent of an example; None where it is sent no vectors."""
        return None

    @property
    def sent(self) -> dict[str, Any]:
        """What the `meta.json` beside answers says of the message, as far as it follows from the parameters."""
        return {"slots": self.sent_vectors}

    @property
    def updated_layers(self) -> Sequence[str]:
        """Names of the linear layers inside a receiver that it updates."""
        return ()

    def controls(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Those of `evaluate.controls` that this kind has."""
        return tuple(control for control in asked if control not in OF_VECTORS or self.sent_vectors is not None)

    def positions(self, max_tokens: int, /) -> dict[str, int]:
        """What of the section, as a sentence names it → the positions that it puts between primer and anchor."""
        raise NotImplementedError


class WireMethod(MethodSettings):
    """A trained method: the shape of its wire and the receivers that read it."""

    sees: ClassVar[Mapping[str, bool]] = {"text": False, "labels": True, "features": True}
    kind: Literal["wire"]
    """A wire of vectors is written from the sender's features; an adapter for each receiver reads it."""
    slots: Positive
    """M, latent vectors in a wire."""
    width: Positive
    """d, numbers in a latent vector."""
    depth: Positive
    """Resampler blocks."""
    heads: Positive
    """Attention heads in a block."""
    hidden: Positive
    """Hidden width of an adapter."""
    dropout: Fraction
    """On the residual branches of the resampler, while training."""
    query_std: Real = Field(default=1.0, gt=0)
    """Standard deviation of the slots' queries at the start; at 0.02 all slots begin, and stay, as one vector."""
    receivers: Distinct[Name] = Field(min_length=1)
    """Names of models; all of them read the same wire."""

    @model_validator(mode="after")
    def _heads_divide(self) -> WireMethod:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, found {self.width} and {self.heads}")
        return self

    @property
    def sent_vectors(self) -> int | None:
        """M."""
        return self.slots

    @property
    def sent(self) -> dict[str, Any]:
        """Slots, and bytes of float16."""
        return {"slots": self.slots, "bytes_per_example": float(self.slots * self.width * HALF)}

    def positions(self, _max_tokens: int, /) -> dict[str, int]:
        """One for each slot."""
        return {"slots": self.slots}


class TextSettings(MethodSettings):
    """What methods have in common whose receivers read the text itself, its first `baseline.max_tokens` tokens."""

    sees: ClassVar[Mapping[str, bool]] = {"text": True, "labels": True, "features": False}

    def positions(self, _max_tokens: int, /) -> dict[str, int]:
        """None beside those of the text."""
        return {}


class PromptTuningMethod(TextSettings):
    """A trained method: vectors before the text that a frozen receiver reads (Lester et al. 2021)."""

    kind: Literal["prompt_tuning"]
    """Trained vectors stand before the text; they begin as embeddings of tokens that the seed draws."""
    length: Positive
    """P, trained vectors of each receiver."""

    def positions(self, max_tokens: int, /) -> dict[str, int]:
        """The vectors and the text."""
        return {"length + baseline.max_tokens": self.length + max_tokens}


class LoraMethod(TextSettings):
    """A trained method: low-rank updates of layers inside a receiver that reads the text (Hu et al. 2022)."""

    kind: Literal["lora"]
    """Trained updates inside the receivers, 0 at the start."""
    rank: Positive
    """r, rank of an update."""
    alpha: Real = Field(gt=0)
    """An update is scaled by alpha / rank."""
    targets: Distinct[Annotated[str, Field(min_length=1)]] = Field(default=("q_proj", "v_proj"), min_length=1)
    """Names of the linear layers that are updated, in every block of a receiver."""

    @property
    def updated_layers(self) -> Sequence[str]:
        """The targets."""
        return self.targets


_CLASSES = {"wire": "WireMethod", "prompt_tuning": "PromptTuningMethod", "lora": "LoraMethod"}
KINDS: tuple[str, ...] = tuple(_CLASSES)
"""In a checkpoint, the kind stands before the names of what was trained."""


def _kind_of_method(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return _CLASSES.get(kind) if isinstance(kind, str) else None


Method = Annotated[
    Annotated[WireMethod, Tag("WireMethod")]
    | Annotated[PromptTuningMethod, Tag("PromptTuningMethod")]
    | Annotated[LoraMethod, Tag("LoraMethod")],
    Discriminator(
        _kind_of_method,
        custom_error_type="method",
        custom_error_message=f"a method needs a kind, one of {', '.join(KINDS)}",
    ),
]
