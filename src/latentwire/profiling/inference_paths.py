"""The paths by which a receiver comes to an answer, each as parts that are timed one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from latentwire.evaluation.reading import TrainedItem, load_trained
from latentwire.item import TrainItem
from latentwire.models.build import load_frozen, load_receivers
from latentwire.models.features import Features, StoredInputs, compute_hidden_states
from latentwire.models.loading import FrozenModel
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from latentwire.tasks.stored import StoredTask

Part = Callable[[int], object]
"""Does its work for the test example of this number."""


@dataclass(frozen=True)
class InferencePath:
    """A method as one receiver lives through it, one example at a time."""

    task: str
    method: str
    receiver: str
    parts: Mapping[str, Part]
    """In the order in which they come; each starts from what the one before would hand over."""
    positions: float
    """Mean positions of the prompt that carry the example."""
    bytes_per_example: float
    """As the predictions recorded it."""
    examples: int
    """Test examples that the parts are ready for."""


def list_inference_paths(values: Params, task: str, examples: int) -> Iterator[InferencePath]:
    """The methods of the first seed and the text itself, whole and cut, for every receiver of a task."""
    texts = [example.text for example in StoredTask.open(task).split("test")][:examples]
    sender = load_frozen(values, values.encode.sender, "encoder", "float32")
    first = values.train.methods[0]
    # Not those of the method, inside which something may be trained.
    frozen = {reader.name: reader for reader in load_receivers(values, values.methods[first].receivers, task)}
    for method in values.train.all_methods:
        item = TrainItem.of(values, method, task, values.train.seeds_of(method)[0])
        features = Features.open(item.features, "test")
        trained = load_trained(values, item, features.width)
        for receiver in trained.receivers:
            yield _path_of_method(values, item, trained, receiver, features, sender, texts)
            if method == first:
                yield from _paths_from_texts(values, task, frozen[receiver.name], texts)


def _path_of_method(
    values: Params,
    item: TrainItem,
    trained: TrainedItem,
    receiver: Receiver,
    features: Features,
    sender: FrozenModel,
    texts: Sequence[str],
) -> InferencePath:
    """A method that sees the text alone has no sender and nothing to write."""
    encode, method = values.encode, trained.method
    inputs = StoredInputs(features, encode.max_tokens, texts)
    given = [inputs.take([i]) for i in range(len(texts))]
    with torch.no_grad():
        sent = [method.pack([method.write(one)]) for one in given]
        positions = [len(method.read(message, receiver)[0]) for message in sent]
    sending: dict[str, Part] = {
        "sender": lambda i: compute_hidden_states(sender, [texts[i]], encode.layer, encode.max_tokens),
        "write": lambda i: method.pack([method.write(given[i])]),
    }
    return InferencePath(
        item.task,
        item.method,
        receiver.name,
        {
            **(sending if values.methods[item.method].sees["features"] else {}),
            "read": lambda i: receiver.label_log_likelihoods(method.read(sent[i], receiver)),
        },
        sum(positions) / len(positions),
        _bytes(Path("results/evaluate") / item.name),
        len(texts),
    )


def _paths_from_texts(values: Params, task: str, receiver: Receiver, texts: Sequence[str]) -> Iterator[InferencePath]:
    lengths = {"text": values.baseline.max_tokens, "truncated": values.cut_tokens}
    for method, most in lengths.items():
        if method in values.baseline.methods:
            counts = [len(receiver.tokenise_text(text, most)) for text in texts]
            yield InferencePath(
                task,
                method,
                receiver.name,
                {"read": _reading(receiver, texts, most)},
                sum(counts) / len(counts),
                _bytes(Path("results/baseline") / task / method),
                len(texts),
            )


def _reading(receiver: Receiver, texts: Sequence[str], most: int) -> Part:
    return lambda i: receiver.label_log_likelihoods(receiver.embed_texts([texts[i]], most))


def _bytes(folder: Path) -> float:
    return float(json.loads((folder / "meta.json").read_text(encoding="utf-8"))["bytes_per_example"])
