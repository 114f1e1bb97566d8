"""Trained methods as `params.yaml` names them: one class for each kind, and what all kinds say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from latentwire.params.section import Distinct, Fraction, Name, Positive, Real, Section

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

    def positions(self, max_tokens: int, /) -> dict[str, int]:
        """Key of the section → positions that it puts between primer and anchor beside `max_tokens` of a text."""
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


Method = WireMethod
KINDS: tuple[str, ...] = ("wire",)
"""In a checkpoint, the kind stands before the names of what was trained."""
