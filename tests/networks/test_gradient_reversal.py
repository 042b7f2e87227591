import math

import pytest
import torch

from crossem.networks import ganin_ramp, gradient_reversal


@pytest.mark.parametrize("factor", [0.0, 0.3, 2.0])
def test_identity_forward_and_minus_the_factor_backward(factor):
    x = torch.randn(2, 3, 4, requires_grad=True)
    y = gradient_reversal(x, factor)
    assert torch.equal(y, x)
    weight = torch.randn(2, 3, 4)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, -factor * weight)


def test_what_stands_behind_it_has_the_plain_gradient():
    head = torch.nn.Linear(3, 1)
    x = torch.randn(5, 3, requires_grad=True)
    plain = torch.autograd.grad(head(x).square().sum(), [head.weight, x])
    behind = torch.autograd.grad(head(gradient_reversal(x, 0.5)).square().sum(), [head.weight, x])
    torch.testing.assert_close(behind[0], plain[0])
    torch.testing.assert_close(behind[1], -0.5 * plain[1])


def test_ganin_ramp():
    assert ganin_ramp(0) == 0
    assert ganin_ramp(0.1) == pytest.approx(math.tanh(0.5))  # 2 / (1 + e^-x) - 1 = tanh(x / 2)
    assert ganin_ramp(1) == pytest.approx(1, abs=1e-4)
