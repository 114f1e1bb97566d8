"""The one prompt layout: [BOS][primer][wire or text][anchor][answer], for every loss, score and generation.

Shapes: B batch, S middle slots or tokens, L positions of the whole prompt, D hidden width of the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from latentwire.errors import ConfigurationError
from latentwire.models.pieces import STAND_IN, Tokenise, space_anchor, space_piece, tokenise_after


@dataclass(frozen=True)
class Layout:
    """Token ids around the wire for one receiver and one task; stored in the checkpoint."""

    bos: tuple[int, ...]
    """The BOS id if the model's own convention has one, else empty."""
    primer: tuple[int, ...]
    anchor: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    """Token ids of each label, in the order of the task's labels."""

    @classmethod
    def build(cls, tokenise: Tokenise, bos: int | None, primer: str, anchor: str, answers: Sequence[str]) -> Layout:
        """Tokenise the words of a task for one receiver, each as it is tokenised after what it follows.

        Spaces between the words are those of `space_piece`; the primer and the anchor end without one.

        Raises:
            ConfigurationError: An answer changes the tokens of the anchor before it, so that no wire
                could be followed by the same anchor for all answers.
        """
        body = primer.rstrip(" ")
        before, anchor_ids = _tokenise_anchor(tokenise, anchor)
        return cls(
            bos=() if bos is None else (bos,),
            primer=tuple(tokenise(body) if body else ()),
            anchor=tuple(anchor_ids),
            answers=tuple(_tokenise_answer(tokenise, before, anchor, anchor_ids, answer) for answer in answers),
        )

    @property
    def one_token_answers(self) -> bool:
        """Whether one forward scores all labels."""
        return all(len(answer) == 1 for answer in self.answers)

    def as_json(self) -> dict[str, Any]:
        """Plain lists, as stored in checkpoints and beside predictions."""
        return {key: _as_lists(value) for key, value in asdict(self).items()}


class LayoutState:
    """Layouts as a part of the checkpoint: a layout other than the stored one is refused (invariant I10)."""

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        self._layouts = {name: layout.as_json() for name, layout in layouts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Receiver name → its layout."""
        return self._layouts

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Compare with the stored layouts.

        Raises:
            ConfigurationError: A receiver's layout differs from the one that the checkpoint was trained with.
        """
        for name in sorted(stored.keys() | self._layouts.keys()):
            current, trained = self._layouts.get(name), stored.get(name)
            if current != trained:
                raise ConfigurationError(
                    f"The prompt layout of receiver {name!r} is {current}, but the checkpoint was trained with "
                    f"{trained}. Next: restore primer, anchor and labels in params.yaml, or `dvc repro` to retrain."
                )


@dataclass(frozen=True)
class Prompt:
    """A composed batch, padded on the right."""

    embeddings: Tensor
    """[B, L, D]; exactly 0 at padding."""
    mask: Tensor
    """[B, L] bool; False at padding."""
    shared: int = 0
    """How many of its first positions are BOS and primer, the same in every prompt of a task."""


def compose_prompt(
    layout: Layout,
    embed: Callable[[Tensor], Tensor],
    middle: Sequence[Tensor],
    answers: Sequence[Sequence[int]],
) -> Prompt:
    """Compose one batch.

    Args:
        layout: Token ids around the middle.
        embed: Token ids [N] → embeddings [N, D], as the receiver's own embedding layer computes them.
        middle: Per example [S_b, D]: the adapted wire, or the embedded text.
        answers: Per example the answer's token ids so far; empty to score or generate the first one. The last token of
            an answer that is scored has no place here: what follows it is asked by nobody.
    """
    before = embed(torch.tensor(layout.bos + layout.primer, dtype=torch.long))
    after = embed(torch.tensor(layout.anchor, dtype=torch.long))
    rows = [
        torch.cat([before, slots.to(before.dtype), after, embed(torch.tensor(answer, dtype=torch.long))])
        for slots, answer in zip(middle, answers, strict=True)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    embeddings = pad_sequence(rows, batch_first=True)
    positions = torch.arange(embeddings.shape[1])
    return Prompt(embeddings, positions[None, :] < lengths[:, None], len(before))


def _tokenise_anchor(tokenise: Tokenise, anchor: str) -> tuple[str, list[int]]:
    """What the answers follow, anchor included, and the anchor's token ids in it: those after any word."""
    written = STAND_IN + space_anchor(anchor)
    ids = tokenise_after(tokenise, STAND_IN, written.rstrip(" ").removeprefix(STAND_IN))
    return (anchor, tokenise(anchor.rstrip(" "))) if ids is None else (written, ids)


def _tokenise_answer(
    tokenise: Tokenise, before: str, anchor: str, anchor_ids: list[int], answer: str
) -> tuple[int, ...]:
    piece, body = space_piece(before, answer), before.rstrip(" ")
    start = len(tokenise(body)) - len(anchor_ids)
    joint = tokenise(body + piece)[start:]
    if joint[: len(anchor_ids)] != anchor_ids or len(joint) == len(anchor_ids):
        raise ConfigurationError(
            f"The anchor {anchor!r} is tokens {anchor_ids} alone but {joint} before the answer {answer!r}; expected "
            "the same tokens followed by those of the answer. Next: move the white space between the two in "
            "params.yaml (tasks.*.anchor, tasks.*.labels)."
        )
    return tuple(joint[len(anchor_ids) :])


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value
