"""Linear layers of frozen models by oneDNN's own product, which gives the same bits on processors of any vendor.

torch multiplies float32 with MKL. Its one branch that does not look at the vendor, COMPATIBLE, is half as fast as its
best; oneDNN up to AVX2 does not look at the vendor and is as fast as that best. Nearly all of a training step are
products with frozen weights, so that portable bits cost nothing. A row of a product has the same bits however many
others come with it, and with any number of threads. Trained layers and attention, a small part of a step, and other
dtypes stay torch's: they have the same bits everywhere with portable kernels.

Shapes: N rows, K inputs, M outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def use_onednn_linear(model: nn.Module) -> None:
    """Let every frozen `nn.Linear` of a model multiply by oneDNN; its weights stay the same objects, tied ones too."""
    for module in model.modules():
        if type(module) is nn.Linear:  # what a subclass computes is its own affair
            module.__class__ = FrozenLinear


class FrozenLinear(nn.Linear):
    """A linear layer without gradients of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., K] → [..., M]. Another dtype or device, or weights that are trained after all, is left to torch."""
        if not (_is_plain(input) and _is_plain(self.weight)) or self.weight.requires_grad:
            return F.linear(input, self.weight, self.bias)
        product: Tensor = _FrozenProduct.apply(input, self.weight, self.bias)
        return product


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ + b, and g W as the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiply(gradient, weight.t(), None), None, None


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., K] times weight [M, K], transposed."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()  # an expanded gradient has strides of 0
    count = len(rows)
    if count == 1:  # a row alone would take another kernel, and its numbers depend on how many others come with it
        rows = F.pad(rows, (0, 0, 0, 1))
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product[:count].view(*x.shape[:-1], weight.shape[0])
