"""`latentwire doctor --memory`: what a training process holds, from the real shapes, and whether it fits here.

Nothing is loaded: models and method are made on torch's `meta` device, which knows shapes and no data. Weights,
gradients, optimizer state and buffers are counted; activations are those of one virtual shard, counted on a dry run,
and called an estimate because temporary buffers of kernels are not seen.

Shapes: V shards, B/V examples in a shard, L positions of a prompt, D hidden width of a receiver.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig

from latentwire import machine
from latentwire.assets import Assets
from latentwire.models.build import new_method
from latentwire.models.loading import FrozenModel, load_without_weights
from latentwire.models.methods import AnyMethod, Inputs
from latentwire.models.receiver import MIN_LOGIT_ROWS, Receiver
from latentwire.models.sources import materialise_model
from latentwire.models.weights import read_tensor_header, weight_files
from latentwire.nvml import read_gpus
from latentwire.params.load import Params
from latentwire.sizes import format_bytes
from latentwire.training.activation_bytes import SavedActivationBytes
from latentwire.training.process_count import count_processes

_FLOAT_BYTES = 4
"""Bytes of a trained number."""
_TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16"}


@dataclass(frozen=True)
class MemoryPart:
    """Something that a training process keeps in memory."""

    name: str
    bytes: int
    how: str
    """Where the number comes from."""
    shared: bool = False
    """Once for all processes of a machine."""


@dataclass(frozen=True)
class MemoryPlan:
    """The parts of the most expensive method, and what is here to hold them."""

    method: str
    parts: Sequence[MemoryPart]
    places: Sequence[tuple[str, int]]
    """Name and bytes of each memory: the machine's, or each GPU's."""
    wanted: int
    """Processes that the train stage would start here."""

    @property
    def each(self) -> int:
        """Bytes that each process needs for itself."""
        return sum(part.bytes for part in self.parts if not part.shared)

    @property
    def shared(self) -> int:
        """Bytes that all processes of a machine share."""
        return sum(part.bytes for part in self.parts if part.shared)

    @property
    def processes(self) -> int:
        """How many processes fit."""
        main = dict(self.places).get(MAIN)
        if main is None:
            return sum(self.each + self.shared <= size for _, size in self.places)
        return max(0, (main - self.shared) // self.each)

    @property
    def fits(self) -> bool:
        """Whether all processes fit that the train stage would start here."""
        return self.processes >= self.wanted

    def as_json(self) -> dict[str, Any]:
        """The plan for programs."""
        return {
            "method": self.method,
            "parts": [asdict(part) for part in self.parts],
            "places": dict(self.places),
            "each": self.each,
            "shared": self.shared,
            "processes": self.processes,
            "wanted": self.wanted,
            "answer": self.answer(),
        }

    def lines(self) -> list[str]:
        """The plan for people, the answer last."""
        rows = [f"{format_bytes(part.bytes):>11}  {part.name} ({part.how})" for part in self.parts]
        total = f"{format_bytes(self.each):>11}  one process of method {self.method}"
        together = f", and {format_bytes(self.shared)} for all of them together" if self.shared else ""
        here = "; ".join(f"{name} {format_bytes(size)}" for name, size in self.places) or "no GPU"
        return [*rows, f"{total}{together}", f"here: {here}", self.answer()]

    def answer(self) -> str:
        """Whether it fits, in one sentence."""
        if self.fits:
            return f"fits {self.processes} processes; the train stage starts {self.wanted} here"
        largest = max(self.parts, key=lambda part: part.bytes)
        return (
            f"does not fit: {self.processes} of the {self.wanted} processes that the train stage starts here; the "
            f"largest part is {largest.name} with {format_bytes(largest.bytes)}. "
            "Next: set LATENTWIRE_PROCESSES to fewer, use smaller receivers, runtime.dtype bfloat16, or raise "
            "train.shards (which changes the results)."
        )


MAIN = "main memory"


def plan_memory(values: Params, root: Path = Path()) -> MemoryPlan:
    """Plan for the method that needs most.

    Raises:
        ConfigurationError: A model is not there.
    """
    plans = [(method, _parts(values, method, root)) for method in values.train.all_methods]
    method, parts = max(plans, key=lambda named: sum(part.bytes for part in named[1]))
    return MemoryPlan(method, parts, list_memories(values), count_processes(values))


def list_memories(values: Params) -> list[tuple[str, int]]:
    """The memories that training processes may use: all of each GPU's, or what is available of the machine's."""
    if values.runtime.device == "cuda":
        return [
            (f"GPU {index}, {card.name}", card.total)
            for index, card in enumerate(read_gpus().cards)
            if card.total is not None
        ]
    return [(MAIN, machine.available_memory())]


def _parts(values: Params, method: str, root: Path) -> list[MemoryPart]:
    task, width = values.prepare.tasks[0], _sender_width(values, root)
    frozen = [_outline(values, name, root) for name in values.methods[method].receivers]
    readers = [_Outline(model, *_words(values, task)) for model in frozen]
    with torch.device("meta"):
        made = new_method(values, method, width, readers, seed=0)
    trained = _FLOAT_BYTES * sum(parameter.numel() for parameter in made.parameters())
    on_device = [
        *(_weights(values, model, root) for model in frozen),
        *_training_parts(values, trained),
        _activations(values, method, width, made, frozen, readers),
    ]
    # On a GPU's machine these two are in main memory, which is not what runs short.
    return on_device if values.runtime.device == "cuda" else [*on_device, _checkpoint(trained), _program()]


def _sender_width(values: Params, root: Path) -> int:
    name = values.encode.sender
    source = materialise_model(name, values.models[name], cache=root / ".cache/models", assets=_assets(root))
    return int(AutoConfig.from_pretrained(source.folder, local_files_only=True).hidden_size)


def _outline(values: Params, name: str, root: Path) -> FrozenModel:
    spec, dtype = values.models[name], values.runtime.dtype
    return load_without_weights(name, spec, dtype=dtype, cache_dir=root / ".cache/models", assets=_assets(root))


def _weights(values: Params, frozen: FrozenModel, root: Path) -> MemoryPart:
    size = _bytes(frozen.model.parameters())
    mapped = values.runtime.device == "cpu" and _stored(values, frozen.name, root) == {values.runtime.dtype}
    how = f"{values.runtime.dtype}, frozen: no gradient and no optimizer state"
    how += "; mapped from its file, one copy for all processes" if mapped else ", in every process"
    return MemoryPart(f"weights of {frozen.name}", size, how, mapped)


def _stored(values: Params, name: str, root: Path) -> set[str]:
    """Types of the numbers in a model's files."""
    source = materialise_model(name, values.models[name], cache=root / ".cache/models", assets=_assets(root))
    headers = [read_tensor_header(path) for path in weight_files(source.folder)]
    return {_TORCH_NAMES.get(info["dtype"], info["dtype"]) for header in headers for info in header.values()}


def _assets(root: Path) -> Assets:
    return Assets(root / "assets", root / "assets.lock")


def _training_parts(values: Params, trained: int) -> list[MemoryPart]:
    shards = values.train.shards
    partial = (shards - 1).bit_length() + 1
    return [
        MemoryPart("trained weights", trained, "float32"),
        MemoryPart("optimizer state", 2 * trained, "AdamW: two moments of the trained weights only"),
        MemoryPart("partial gradients", partial * trained, f"the tree over {shards} shards: {partial} at once"),
        MemoryPart("exchange of gradients", 2 * trained, "what is sent and what is received, with several processes"),
    ]


def _checkpoint(trained: int) -> MemoryPart:
    return MemoryPart(
        "checkpoint", 2 * 3 * trained, "rank 0: a copy of weights and moments, and one that is being written"
    )


def _activations(
    values: Params, name: str, width: int, method: AnyMethod, frozen: Sequence[FrozenModel], readers: Sequence[Receiver]
) -> MemoryPart:
    examples, text = values.train.batch // values.train.shards, values.baseline.max_tokens
    between = max(values.methods[name].positions(text).values(), default=text)
    kept = SavedActivationBytes(method.parameters())
    with torch.device("meta"), kept:
        written = method.write(_made_up_inputs(examples, values.encode.max_tokens, width))
        reads = [method.read(written, reader) for reader in readers]
    adapted = [method.adapt(reader) for reader in readers]
    most = max(_reading(model, r, examples, between) for model, r in zip(frozen, adapted, strict=True))
    del reads
    return MemoryPart(
        "activations", kept.bytes + most, f"ESTIMATE for one shard of {examples} examples, one receiver at a time"
    )


def _made_up_inputs(examples: int, length: int, width: int) -> Inputs:
    mask = torch.ones(examples, length, dtype=torch.bool)
    return Inputs(torch.empty(examples, length, width), mask, texts=["text"] * examples)


def _reading(frozen: FrozenModel, reader: Receiver, examples: int, between: int) -> int:
    """Bytes that one receiver keeps for its backward [B/V, L, D], and its largest temporary: float32 logits twice."""
    layout = reader.layout
    longest = max(len(answer) for answer in layout.answers)
    positions = len(layout.bos) + len(layout.primer) + between + len(layout.anchor) + longest
    # A whole mask is taken as it is; from a shorter one transformers would make it by looking at its data.
    whole = torch.ones(examples, 1, positions, positions, dtype=torch.bool, device="meta")
    try:
        return _reading_with(whole, frozen, examples, positions, longest)
    except (RuntimeError, ValueError):  # a family that counts positions on a flat mask makes one without looking
        return _reading_with(None, frozen, examples, positions, longest)


def _reading_with(mask: Tensor | None, frozen: FrozenModel, examples: int, positions: int, longest: int) -> int:
    model, rows = frozen.model, max(MIN_LOGIT_ROWS, examples * longest)
    head: nn.Module = model.get_output_embeddings()
    kept = SavedActivationBytes(model.parameters())
    with torch.device("meta"), kept:
        embeddings = torch.empty(examples, positions, frozen.embedding_width, dtype=model.dtype, requires_grad=True)
        read = model.get_decoder()(inputs_embeds=embeddings, attention_mask=mask, use_cache=False)
        states: Tensor = read.last_hidden_state
        scores = F.log_softmax(head(states.flatten(0, 1)[:1].expand(rows, -1)).float(), dim=-1)
    return kept.bytes + 2 * int(scores.nbytes)


class _Outline(Receiver):
    """A receiver without weights, of which nothing can be measured."""

    def embedding_rms(self) -> float:
        """Any number: what is made of it is not looked at."""
        return 1.0


def _words(values: Params, task: str) -> tuple[str, str, list[str]]:
    words = values.tasks[task]
    return words.primer, words.anchor, list(words.labels.values())


def _program() -> MemoryPart:
    held = psutil.Process(os.getpid()).memory_info().rss
    return MemoryPart("Python and its libraries", held, "measured on this process")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
