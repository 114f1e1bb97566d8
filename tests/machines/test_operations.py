"""What torch is asked for in a training, that each call can be made again, and that none has bits of its vendor."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest
import torch

from latentwire.models.baselines import score_by_majority
from latentwire.params.load import load_params
from tests.machines.operations import APPROXIMATED, Recorder, cut_call, describe_call
from tests.machines.record import record_calls
from tests.machines.replay import choose_calls, digest_call, make_tensor, read_calls
from tests.support import workspace


@pytest.fixture(scope="module")
def tiny_calls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = workspace.make(tmp_path_factory.mktemp("tiny") / "repo", train__batch=4, train__shards=2, encode__batch=8)
    with contextlib.chdir(made.root):
        return record_calls(load_params())


def names(calls: list[str]) -> set[str]:
    return {json.loads(call)[0].split(".")[1] for call in calls}


def approximated(calls: list[str]) -> list[str]:
    """Those that MKL makes from approximations: by name, and for some of them by type."""
    return [call for call in calls if any(name in call and kind in call for name, kind in APPROXIMATED)]


def test_no_call_of_the_pipeline_has_bits_of_its_own_on_every_vendor(tiny_calls: list[str]) -> None:
    """`torch.sqrt` in AdamW was one: a training on AMD and one on Intel differed in their second step."""
    assert {"_fused_adamw_", "native_layer_norm", "randn", "gelu_backward", "index_put"} <= names(tiny_calls)
    assert approximated(tiny_calls) == []
    assert approximated(read_calls()) == []


def test_that_check_finds_the_optimizer_that_is_not_fused() -> None:
    parameter = torch.nn.Parameter(torch.ones(40))
    parameter.grad = torch.ones(40)
    optimizer = torch.optim.AdamW([parameter], fused=False)
    with Recorder() as recorder:
        optimizer.step()
    assert names(approximated(list(recorder.calls))) == {"sqrt"}


def test_majority_is_scored_without_them() -> None:
    with Recorder() as recorder:
        scores = score_by_majority([0, 0, 1], 3, 2)
    assert approximated(list(recorder.calls)) == []
    assert scores.tolist() == [pytest.approx([-0.4054651081, -1.0986122887, -float("inf")])] * 2


@pytest.mark.long
def test_every_kept_call_can_be_made_again() -> None:
    calls = sorted(set(map(cut_call, read_calls())))
    digests = {call: digest_call(call) for call in calls}
    assert all(digest_call(call) == digests[call] for call in calls[::9])
    assert len(set(digests.values())) > len(calls) / 2


def test_a_sample_has_every_operation() -> None:
    chosen = choose_calls(read_calls(), 8)
    assert names(chosen) == names(read_calls())
    assert max(Counter(json.loads(call)[0] for call in chosen).values()) == 8


def test_a_cut_call_keeps_widths_order_and_equal_sizes() -> None:
    """A product with the vocabulary of a transposed table; a mask that is broadcast."""
    product = [{"tensor": ["float32", [496, 640], [640, 1]]}, {"tensor": ["float32", [640, 262144], [1, 640]]}]
    mask = [{"tensor": ["bool", [2, 9, 70, 70], [4900, 0, 70, 1]]}, [70, 9], True]
    texts = [json.dumps(["aten.mm.default", arguments, {}]) for arguments in (product, mask)]
    (left, right), (masked, *others) = (json.loads(cut_call(text))[1] for text in texts)
    assert (left["tensor"][1:], right["tensor"][1:]) == ([[48, 640], [640, 1]], [[640, 2192], [1, 640]])
    assert (masked["tensor"][1:], others) == ([[2, 9, 54, 54], [2916, 0, 54, 1]], [[54, 9], True])


def test_the_kept_calls_are_of_both_real_receivers_and_the_sender() -> None:
    """Widths 384, 576 and 640, forwards and backwards, over the whole vocabularies."""
    kept = read_calls()
    assert all(any(f", {width}]" in call for call in kept) for width in (192, 384, 576, 640, 49152, 262144))
    assert {"_fused_adamw_", "native_layer_norm_backward", "silu_backward", "_log_softmax_backward_data"} <= names(kept)


@pytest.mark.slow
@pytest.mark.assets
def test_the_kept_calls_are_those_of_the_real_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails: `python -m tests.machines.record`, and see in the difference what the models call now."""
    monkeypatch.chdir(workspace.ROOT)
    assert record_calls(load_params()) == read_calls()


def test_a_tensor_is_made_again_from_its_description() -> None:
    """Also one that is broadcast, and one that is transposed."""
    for tensor in (torch.zeros(3, 5), torch.zeros(1, 4).expand(3, 4), torch.zeros(5, 3).T, torch.zeros(0, 2)):
        _, (argument,), _ = json.loads(describe_call(torch.ops.aten.exp.default, [tensor], {}))
        made = make_tensor(argument["tensor"], 0, positive=False)
        assert (made.shape, made.stride(), made.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)
        assert made.isfinite().all()


def test_strides_are_part_of_a_call() -> None:
    rows = {"tensor": ["float32", [4, 9], [9, 1]]}
    calls = [json.dumps(["aten.mm.default", [rows, {"tensor": ["float32", [9, 7], s]}], {}]) for s in ([7, 1], [1, 9])]
    assert digest_call(calls[0]) != digest_call(calls[1])
