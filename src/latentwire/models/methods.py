"""What a trained method does, whatever is trained: it writes a message from an example, and a receiver reads it.

Shapes: B batch, T sender tokens, D_s hidden width of the sender, L_i positions of an example, D_r width of a receiver's
embeddings, N examples, M vectors, d their width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

if TYPE_CHECKING:  # it brings `transformers`, whose import takes seconds
    from latentwire.models.receiver import Receiver

Message = TypeVar("Message")
"""What a receiver gets of B examples, such as vectors [B, M, d] or their texts."""


@dataclass(frozen=True)
class Inputs:
    """What is there of some examples, without their labels; `sees` of a method's settings says what of it it reads."""

    states: Tensor
    """Of the sender [B, T, D_s] float32."""
    mask: Tensor
    """[B, T] bool; False at padding."""
    texts: Sequence[str] = field(default=(), kw_only=True)
    """[B]."""


class TrainedMethod(nn.Module, ABC, Generic[Message]):
    """One of the kinds of `latentwire.params.methods`; its parameters are what is trained, in float32."""

    reads_in_one_shape: ClassVar[bool] = False
    """Whether what is read has one length and all that is trained stands before the receivers, so that a frozen
    receiver may read several shards of a step in one pass."""

    @abstractmethod
    def write(self, inputs: Inputs) -> Message:
        """The message of some examples."""

    @abstractmethod
    def read(self, message: Message, receiver: Receiver) -> list[Tensor]:
        """A message → [L_i, D_r] of each example: the embeddings that stand between primer and anchor."""

    @abstractmethod
    def pack(self, messages: Sequence[Message]) -> Message:
        """Several messages as one, in the form in which they are sent."""

    @abstractmethod
    def select(self, message: Message, rows: Sequence[int]) -> Message:
        """The message of the examples at some positions."""

    @abstractmethod
    def count_bytes(self, message: Message, receivers: Sequence[Receiver], /) -> list[int]:
        """Bytes of what is sent of an example, for every one that is sent."""

    def adapt(self, receiver: Receiver) -> Receiver:
        """The receiver with what this method trains inside it; here nothing."""
        return receiver

    def vectors(self, _message: Message, /) -> Tensor:
        """The numbers [N, M, d] that are sent, for what is asked of numbers alone: noise, a probe.

        Raises:
            TypeError: This kind sends none; `sent_vectors` of its settings says so before.
        """
        raise TypeError(f"{type(self).__name__} sends no vectors")

    @property
    def measures(self) -> Mapping[str, Callable[[Message], list[float]]]:
        """Name → what validation measures of each message, besides the answers."""
        return {}

    def similarity(self, _message: Message, /) -> Tensor | None:
        """Mean off-diagonal cosine of a batch's messages, for `train.losses.collapse`; None where they are texts."""
        return None


class TextMethod(TrainedMethod[Sequence[str]]):
    """A method whose receivers read the text itself."""

    def __init__(self, max_tokens: int) -> None:
        """Of a text, the first `max_tokens` tokens are read."""
        super().__init__()
        self.max_tokens = max_tokens

    def write(self, inputs: Inputs) -> Sequence[str]:
        """The texts."""
        return inputs.texts

    def read(self, message: Sequence[str], receiver: Receiver) -> list[Tensor]:
        """Texts → [T, D_r] of each."""
        return receiver.embed_texts(message, self.max_tokens)

    def pack(self, messages: Sequence[Sequence[str]]) -> list[str]:
        """All texts."""
        return [text for message in messages for text in message]

    def select(self, message: Sequence[str], rows: Sequence[int]) -> list[str]:
        """The texts at some positions."""
        return [message[row] for row in rows]

    def count_bytes(self, message: Sequence[str], receivers: Sequence[Receiver], /) -> list[int]:
        """UTF-8 bytes of what every receiver reads of every text."""
        return [receiver.count_text_bytes(text, self.max_tokens) for receiver in receivers for text in message]


AnyMethod = TrainedMethod[Any]
"""Of any kind: whoever has one only hands its messages on."""
