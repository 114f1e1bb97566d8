"""The sender's hidden states, computed once and memory-mapped.

Shapes: N examples of a split, T tokens of a text, D_s hidden width of the sender.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from latentwire.errors import ConfigurationError
from latentwire.models.methods import Inputs
from latentwire.output_files import replace_file, write_text_file

if TYPE_CHECKING:  # it brings `transformers`, whose import takes seconds
    from latentwire.models.loading import FrozenModel

FILE = "features.safetensors"
INDEX = "index.json"


@torch.no_grad()
def compute_hidden_states(sender: FrozenModel, texts: Sequence[str], layer: int, max_tokens: int) -> list[Tensor]:
    """Hidden states [T, D_s] of each text after one layer, padding removed."""
    tokens = sender.tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    ids = pad_sequence([torch.tensor(row) for row in tokens], batch_first=True)
    lengths = torch.tensor([len(row) for row in tokens])
    mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    output = sender.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    states: Tensor = output.hidden_states[layer]
    return [row[:length] for row, length in zip(states, lengths.tolist(), strict=True)]


def write_features(
    folder: Path,
    splits: Iterable[tuple[str, Sequence[str], Sequence[str]]],
    encode: Callable[[Sequence[str]], list[Tensor]],
    batch: int,
    advance: Callable[[int], None],
    description: dict[str, Any],
) -> None:
    """Encode every split and store it as one ragged bfloat16 array with its row offsets.

    Args:
        folder: Gets `features.safetensors` and `index.json`.
        splits: Name, example ids and texts of each split.
        encode: Texts → hidden states [T, D_s] of each.
        batch: Texts per call of `encode`.
        advance: Told how many texts were just encoded.
        description: What made these features; stored in the index and compared by readers.
    """
    tensors: dict[str, Tensor] = {}
    ids: dict[str, list[str]] = {}
    for split, example_ids, texts in splits:
        rows = _encode_by_length(texts, encode, batch, advance)
        tensors[f"{split}.states"] = torch.cat(rows).to(torch.bfloat16)
        tensors[f"{split}.offsets"] = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
        ids[split] = list(example_ids)
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / FILE) as partial:
        save_file(tensors, partial)
    index = {"description": description, "example_ids": ids}
    write_text_file(folder / INDEX, json.dumps(index, indent=1, sort_keys=True) + "\n")


def _encode_by_length(
    texts: Sequence[str], encode: Callable[[Sequence[str]], list[Tensor]], batch: int, advance: Callable[[int], None]
) -> list[Tensor]:
    """Hidden states of each text, in order; texts of about one length share a batch, since all are padded alike."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    states: dict[int, Tensor] = {}
    for start in range(0, len(texts), batch):
        chosen = order[start : start + batch]
        states.update(zip(chosen, encode([texts[i] for i in chosen]), strict=True))
        advance(len(chosen))
    return [states[i] for i in range(len(texts))]


@dataclass(frozen=True)
class Features:
    """One split of a stored feature file; rows are read from disk when asked for."""

    path: Path
    split: str
    example_ids: tuple[str, ...]
    offsets: tuple[int, ...]
    width: int

    @classmethod
    def open(cls, folder: Path, split: str) -> Features:
        """Open a split.

        Raises:
            ConfigurationError: The folder holds no features or not this split.
        """
        path = cls.file(folder)
        ids = json.loads((folder / INDEX).read_text(encoding="utf-8"))["example_ids"]
        if split not in ids:
            raise ConfigurationError(f"{path} has splits {', '.join(ids)}, not {split}. Next: `dvc repro encode`.")
        with safe_open(path, framework="pt") as file:
            offsets = tuple(file.get_tensor(f"{split}.offsets").tolist())
            width = file.get_slice(f"{split}.states").get_shape()[1]
        return cls(path, split, tuple(ids[split]), offsets, width)

    @staticmethod
    def file(folder: Path) -> Path:
        """The feature file of a folder.

        Raises:
            ConfigurationError: There is none.
        """
        if not (folder / FILE).is_file():
            raise ConfigurationError(
                f"No {FILE} in {folder}; expected the sender's features. Next: `dvc repro encode`."
            )
        return folder / FILE

    def __len__(self) -> int:
        return len(self.example_ids)

    def rows(self, indices: Sequence[int]) -> list[Tensor]:
        """States [T, D_s] float32 of examples by position."""
        with safe_open(self.path, framework="pt") as file:
            states = file.get_slice(f"{self.split}.states")
            return [states[self.offsets[i] : self.offsets[i + 1]].float() for i in indices]

    def padded(self, indices: Sequence[int], length: int) -> tuple[Tensor, Tensor]:
        """States [B, length, D_s] float32, 0 at padding, and mask [B, length] bool.

        The length is fixed, not the batch's longest, so that no sum depends on who shares the batch.
        """
        rows = self.rows(indices)
        states = torch.zeros(len(rows), length, self.width)
        for target, row in zip(states, rows, strict=True):
            target[: len(row)] = row
        lengths = torch.tensor([len(row) for row in rows])
        return states, torch.arange(length)[None, :] < lengths[:, None]

    def means(self) -> Tensor:
        """Mean state [N, D_s] of every example."""
        return torch.stack([row.mean(dim=0) for row in self.rows(range(len(self)))])


@dataclass(frozen=True)
class StoredInputs:
    """What methods are given of the examples of a split: features, and the texts where they are at hand."""

    features: Features
    length: int
    """Tokens of the sender that every example is padded to."""
    texts: Sequence[str] = ()

    def take(self, indices: Sequence[int]) -> Inputs:
        """The examples at some positions."""
        texts = [self.texts[i] for i in indices] if self.texts else ()
        return Inputs(*self.features.padded(indices, self.length), texts=texts)
