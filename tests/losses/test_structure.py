"""The structure loss sees inverted contrast, and neither gain, offset nor noise."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from crossem.errors import InputError
from crossem.losses import StructureLoss


def picture(seed, shape=(64, 64)):
    """Smooth structure, standard deviation 1."""
    image = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return (image - image.mean()) / image.std()


def loss(x, y, **options):
    return StructureLoss(**options)(*(torch.tensor(np.asarray(i, dtype=np.float32))[None, None] for i in (x, y))).item()


def reference(x, y, window, pool):
    x, y = (i.reshape(i.shape[0] // pool, pool, i.shape[1] // pool, pool).mean(axis=(1, 3)) for i in (x, y))
    covariance, spread = 0.0, 0.0
    for i in range(0, x.shape[0] - window + 1, window // 2):
        for j in range(0, x.shape[1] - window + 1, window // 2):
            a, b = (k[i : i + window, j : j + window] for k in (x, y))
            covariance += ((a - a.mean()) * (b - b.mean())).mean()
            spread += a.std() * b.std()
    return 1 - covariance / spread


@pytest.mark.parametrize(("window", "pool"), [(8, 2), (6, 1), (4, 4)])
def test_it_is_the_formula(window, pool):
    x, y = picture(0), picture(0) + 0.7 * picture(1)
    assert loss(x, y, window=window, pool=pool) == pytest.approx(reference(x, y, window, pool), abs=1e-5)


def test_inverted_contrast_costs_most_and_gain_and_offset_nothing():
    x = picture(0)
    assert loss(x, x) == pytest.approx(0, abs=1e-5)
    assert loss(x, 0.3 * x + 1.5) == pytest.approx(0, abs=1e-4)
    assert loss(x, -x) == pytest.approx(2, abs=1e-5)
    assert 0.8 < loss(x, picture(5)) < 1.2


def test_other_noise_costs_much_less_than_other_structure():
    noise = np.random.default_rng(3).normal(size=(2, 64, 64)) * 0.5
    assert loss(picture(0) + noise[0], picture(0) + noise[1]) < 0.25


def test_gradients_are_finite_where_there_is_no_contrast():
    x = torch.zeros(1, 1, 32, 32)
    y = torch.zeros(1, 1, 32, 32, requires_grad=True)
    value = StructureLoss()(x, y)
    value.backward()
    assert value.item() == pytest.approx(1) and torch.isfinite(y.grad).all()


def test_patches_smaller_than_a_window_are_one_window():
    x = picture(0)[:8, :8]
    assert loss(x, -x) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("options", [{"window": 1}, {"pool": 0}])
def test_wrong_options_are_named(options):
    with pytest.raises(InputError, match="window is"):
        StructureLoss(**options)
