"""Words that no training named: read from the same forward as the labels, and refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from latentwire.errors import ConfigurationError
from latentwire.models.loading import load_tokenizer
from latentwire.models.receiver import Receiver
from latentwire.models.sources import materialise_model
from latentwire.models.unseen_words import check_unseen_words
from latentwire.params.load import Params, parse_params
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.tiny import LABELS, tiny_causal_model, tiny_task
from tests.support.tiny_receivers import make_receiver

ROOT = Path(__file__).parents[3]
WORDS = [" snow", " ash"]


def test_words_come_from_the_forward_of_the_labels_and_change_none_of_their_bits(
    receiver: Receiver, middle: list[Tensor]
) -> None:
    tokens = receiver.answer_tokens(WORDS)
    with torch.no_grad():
        both = receiver.label_log_likelihoods(middle, tokens)
        alone = receiver.label_log_likelihoods(middle)
        by_hand = receiver.next_token(middle, [()] * len(middle))[:, torch.tensor(tokens)]
    assert torch.equal(both[:, : alone.shape[1]], alone)
    assert torch.equal(both[:, alone.shape[1] :], by_hand)
    assert receiver.decode(tokens) == "".join(WORDS)


def test_labels_of_several_tokens_leave_the_words_as_they_are(receiver: Receiver, middle: list[Tensor]) -> None:
    tokens = receiver.answer_tokens(WORDS)
    long = Receiver.__new__(Receiver)
    long.__dict__ |= {**vars(receiver), "layout": _two_tokens(receiver)}
    with torch.no_grad():
        both = long.label_log_likelihoods(middle, tokens)
        assert torch.equal(both[:, 2:], receiver.label_log_likelihoods(middle, tokens)[:, -2:])
        assert torch.equal(both[:, :2], long.label_log_likelihoods(middle))


def _two_tokens(receiver: Receiver) -> Any:
    (first,), (second,) = receiver.layout.answers
    return type(receiver.layout)(
        receiver.layout.bos, receiver.layout.primer, receiver.layout.anchor, ((first, second), (second, first))
    )


def test_a_word_of_several_tokens_is_refused(receiver: Receiver) -> None:
    with pytest.raises(
        ConfigurationError, match=r"unseen word ' snow ash' is the tokens \[.*, .*\] for .*; expected one"
    ):
        receiver.answer_tokens([" snow", " snow ash"])


def _params(folder: Path, unseen: list[dict[str, str]]) -> Params:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["models"]["m"] = tiny_causal_model(folder / "m")
    values["tasks"] = {"tiny": {**tiny_task(folder / "data"), "unseen": unseen}}
    values["aggregate"]["metrics"] = {}
    values["prepare"]["tasks"] = ["tiny"]
    return parse_params(values, "params.yaml")


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ({"dark": " ash", "light": " snow"}, None),
        ({"dark": " ash snow", "light": " snow"}, "' ash snow' is the tokens"),
        ({"dark": " unheard", "light": " unknown"}, "two are the same token for m, or one is that of a label"),
        ({"dark": LABELS["light"] + " ", "light": " snow"}, "a word that is neither"),
    ],
)
def test_prepare_refuses_words_that_cannot_be_told_apart(
    tmp_path: Path, words: dict[str, str], refused: str | None
) -> None:
    """The tiny tokenizer has one token for everything that it does not know."""

    def check() -> None:
        values = _params(tmp_path, [{"dark": " storm", "light": " glass"}, words])
        spec = values.models["m"]
        assert isinstance(spec, LocalModel)
        check_unseen_words(values, {"m": load_tokenizer(materialise_model("m", spec))})

    if refused is None:
        check()
        return
    with pytest.raises(ConfigurationError, match=refused):
        check()


def test_the_words_of_this_repository_are_checked(tmp_path: Path) -> None:
    """A receiver that knows none of them is refused at once, before anything is trained."""
    values = parse_params(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")), "params.yaml")
    make_receiver(tmp_path)
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m"))
    with pytest.raises(ConfigurationError, match=r"unseen word|two are the same token"):
        check_unseen_words(values, {"m": load_tokenizer(materialise_model("m", spec))})
