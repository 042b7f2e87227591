"""Gradient reversal: adversarial training with one loss and one optimiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def gradient_reversal(x: Tensor, factor: float) -> Tensor:
    """``x`` itself in the forward pass; in the backward pass the gradient is multiplied by ``-factor``.

    What comes after is trained to lower a loss, what comes before to raise it (Ganin et al. 2016,
    "Domain-adversarial training of neural networks", section 4.2). A factor of 0 cuts the gradient off.
    """
    return _Reversal.apply(x, factor)


def ganin_ramp(progress: float) -> float:
    """Ganin's schedule of the reversal, 2 / (1 + exp(-10 p)) - 1: 0 at p = 0, 0.46 at p = 0.1, 1 at p = 1.

    The domain classifier is random at first, and its gradient noise (Ganin et al. 2016, section 5.2.2).

    Args:
        progress: p, the share of the ramp that is over, 0 to 1.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1
