import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss

from crossem.losses import domain_accuracy, domain_loss


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 2, 2, 2, generator=generator) - 1, torch.randn(3, 1, 2, 4, 4, generator=generator)


def test_loss_is_the_balanced_binary_cross_entropy(logits):
    expected = [log_loss(np.full(x.numel(), i), x.sigmoid().flatten(), labels=[0, 1]) for i, x in enumerate(logits)]
    assert domain_loss(*logits).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert domain_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(math.log(2))


def test_accuracy_is_balanced(logits):
    truth = np.repeat([0, 1], [x.numel() for x in logits])
    told = torch.cat([x.flatten() for x in logits]) > 0
    assert domain_accuracy(*logits).item() == pytest.approx(balanced_accuracy_score(truth, told))
    assert domain_accuracy(torch.zeros(3), torch.zeros(5)).item() == 0.5


def test_large_logits_are_finite():
    assert domain_loss(torch.tensor([500.0]), torch.tensor([-500.0])).item() == pytest.approx(500)
