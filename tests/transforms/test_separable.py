"""Matrices along one axis against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from crossem.transforms import separable


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slab_voxels", [64, 1 << 20])
def test_apply_along_axis_in_slabs_and_bands(axis, slab_voxels, monkeypatch):
    monkeypatch.setattr(separable, "_SLAB_VOXELS", slab_voxels)
    random = np.random.RandomState(0)
    volume = random.rand(9, 11, 13)
    matrix = np.triu(random.rand(150, volume.shape[axis]), k=-150)
    expected = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    result = separable.apply_along_axis(torch.from_numpy(volume), torch.from_numpy(matrix).float(), axis)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gaussian_is_scipys(axis):
    volume = np.random.RandomState(0).rand(30, 200, 20).astype(np.float32)
    matrix = separable.gaussian_matrix(volume.shape[axis], 7.3)
    result = separable.apply_along_axis(torch.from_numpy(volume), matrix, axis)
    np.testing.assert_allclose(result.numpy(), gaussian_filter1d(volume, 7.3, axis=axis), atol=1e-5)
