"""The adversarial loss is the logarithm of the discriminator's probability."""

import numpy as np
import pytest
import torch

from crossem.losses import adversarial_loss


def test_it_is_equation_3():
    logits = np.random.default_rng(0).normal(size=(2, 1, 3, 4)) * 3
    probability = 1 / (1 + np.exp(-logits))
    assert adversarial_loss(torch.tensor(logits), real=True).item() == pytest.approx(
        -np.log(probability).mean(), rel=1e-5
    )
    assert adversarial_loss(torch.tensor(logits), real=False).item() == pytest.approx(
        -np.log(1 - probability).mean(), rel=1e-5
    )


def test_half_precision_is_computed_in_float32_and_stays_finite():
    logits = torch.tensor([1e4, -1e4], dtype=torch.float16, requires_grad=True)
    loss = adversarial_loss(logits, real=True)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(5e3, rel=1e-3)
    assert torch.isfinite(logits.grad).all()
