import numpy as np
import pytest
import torch

from crossem.losses import coral


def test_equals_the_formula():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5))
    expected = np.linalg.norm(np.cov(x, rowvar=False) - np.cov(y, rowvar=False), "fro") ** 2 / (4 * 5**2)
    assert coral(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(expected, rel=1e-5)


def test_zero_for_equal_samples_and_blind_to_the_mean():
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    assert coral(x, x).item() == 0
    assert coral(x, x + 3).item() == pytest.approx(0, abs=1e-9)
    assert coral(x, 2 * x).item() > 0.1


def test_float32_under_autocast():
    x, y = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = coral(x, y)
    assert mixed.dtype == torch.float32 and mixed.item() == pytest.approx(coral(x, y).item(), abs=1e-7)
