import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from crossem.losses import mmd


def reference(x, y):
    """Gretton et al. 2012, equation 4, pair by pair."""
    n, both = len(x), np.concatenate([x, y])
    squared = [((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j]
    total = 0.0
    for b in (4, 2, 1, 0.5, 0.25):
        gamma = 1 / (b * np.mean(squared))
        kxx, kyy, kxy = rbf_kernel(x, x, gamma), rbf_kernel(y, y, gamma), rbf_kernel(x, y, gamma)
        for i in range(n):
            for j in range(n):
                if i != j:
                    total += (kxx[i, j] + kyy[i, j] - kxy[i, j] - kxy[j, i]) / 5
    return total / (n * (n - 1))


@pytest.mark.parametrize("shift", [0.0, 0.5, 5.0])
def test_equals_the_formula(shift):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 4)) + shift
    assert mmd(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(reference(x, y), abs=1e-6)


def test_zero_for_equal_samples():
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    assert mmd(x, x).item() == pytest.approx(0, abs=1e-6)


def test_unbiased_between_samples_of_one_distribution():
    generator = torch.Generator().manual_seed(0)
    values = [mmd(*torch.randn(2, 10, 3, generator=generator)).item() for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_minimising_it_moves_one_sample_to_the_other():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 2, generator=generator), torch.randn(60, 2, generator=generator) + 3
    shift = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        mmd(x + shift, y).backward()
        optimizer.step()
    assert shift.detach().numpy() == pytest.approx((y.mean(0) - x.mean(0)).numpy(), abs=0.3)


def test_constant_vectors_are_finite():
    x = torch.ones(5, 3, requires_grad=True)
    mmd(x, torch.ones(5, 3)).backward()
    assert torch.isfinite(x.grad).all()


def test_float32_under_autocast():
    x, y = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mmd(x, y)
    assert mixed.dtype == torch.float32 and mixed.item() == pytest.approx(mmd(x, y).item(), abs=1e-7)
