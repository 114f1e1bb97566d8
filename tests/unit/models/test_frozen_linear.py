"""Frozen linear layers by oneDNN: the same function as torch's, and rows that do not depend on their neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.models.frozen_linear import FrozenLinear, use_onednn_linear
from latentwire.models.receiver import Receiver

K, M = 48, 80
SHAPES = [(K,), (1, K), (0, K), (7, K), (2, 5, K), (3, 1, 4, K)]


def _layer(bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(3)
    layer = nn.Linear(K, M, bias=bias).to(dtype).requires_grad_(False)
    use_onednn_linear(layer)
    return layer


def _normal(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _is_onednn(layer: nn.Linear, x: Tensor) -> bool:
    with torch.profiler.profile() as profile:
        layer(x)
    return any("mkldnn::_linear_pointwise" in event.key for event in profile.key_averages())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_gradients_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    layer = _layer(bias)
    x = _normal(*shape).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y = layer(x)
    expected = F.linear(exact, layer.weight.double(), layer.bias.double() if bias else None)
    upstream = _normal(*y.shape, seed=6)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    (expected_gradient,) = torch.autograd.grad(expected, exact, upstream.double())
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, atol=1e-5, rtol=1e-5)


def test_strides_of_inputs_and_gradients_do_not_matter() -> None:
    layer, x = _layer(), _normal(K, 9).t().requires_grad_()
    plain = x.detach().contiguous().requires_grad_()
    assert torch.equal(layer(x), layer(plain))
    ones = torch.ones(1, 1).expand(9, M)
    (gradient,) = torch.autograd.grad(layer(x), x, ones)
    assert torch.equal(gradient, torch.autograd.grad(layer(plain), plain, ones.contiguous())[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_with_any_number_of_others_and_of_threads(threads: int) -> None:
    layer, x, upstream = _layer(), _normal(64, K), _normal(64, M, seed=6)

    def computed(count: int) -> tuple[Tensor, Tensor]:
        rows = x[:count].clone().requires_grad_()
        product = layer(rows)
        return product.detach(), torch.autograd.grad(product, rows, upstream[:count])[0]

    torch.set_num_threads(1)
    whole = computed(64)
    torch.set_num_threads(threads)
    try:
        for count in (1, 2, 3, 7, 9, 31, 63, 64):
            assert all(torch.equal(part, all_[:count]) for part, all_ in zip(computed(count), whole, strict=True))
    finally:
        torch.set_num_threads(1)


def test_what_onednn_is_not_for_is_torch_s_own() -> None:
    x = _normal(4, K)
    assert _is_onednn(_layer(), x)
    assert not _is_onednn(_layer(dtype=torch.bfloat16), x.bfloat16())
    assert not _is_onednn(_layer(dtype=torch.float64), x.double())
    assert _layer().to("meta")(x.to("meta")).device.type == "meta"


def test_weights_that_are_trained_after_all_get_their_gradients() -> None:
    layer = _layer().requires_grad_(True)
    layer(_normal(4, K)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None


def test_a_second_derivative_is_refused_and_not_left_out() -> None:
    x = _normal(4, K).requires_grad_()
    (gradient,) = torch.autograd.grad(_layer()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_every_linear_layer_of_a_receiver_is_one_and_tied_weights_stay_tied(receiver: Receiver) -> None:
    layers = [module for module in receiver._model.modules() if isinstance(module, nn.Linear)]
    assert layers
    assert {type(layer) for layer in layers} == {FrozenLinear}
    tied = receiver._model.get_output_embeddings().weight is receiver._model.get_input_embeddings().weight
    assert tied == receiver._model.config.tie_word_embeddings


def test_a_subclass_of_linear_keeps_what_it_computes() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled(K, M))
    use_onednn_linear(model)
    assert type(model[0]) is Doubled
