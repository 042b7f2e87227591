"""Small objects go, large ones stay, class by class; against scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from crossem.errors import InputError
from crossem.io import write_volume
from crossem.transforms import DropSmallObjectsd, LoadVolumed

VOXEL_SIZE_ZYX_NM = (40.0, 5.0, 5.0)


@pytest.fixture
def labels(tmp_path):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((6, 60, 70)), (0.5, 1.5, 1.5))
    classes = np.digitize(smooth, np.quantile(smooth, [0.7, 0.85])).astype(np.uint8)
    write_volume(tmp_path / "labels.nii", classes[None], VOXEL_SIZE_ZYX_NM)
    loaded = LoadVolumed("pred", num_classes=3)({"pred": str(tmp_path / "labels.nii")})
    assert np.array_equal(loaded["pred"][0].numpy(), classes)
    return loaded


def kept_by_scipy(classes, voxels):
    kept = np.zeros_like(classes)
    for value in np.unique(classes[classes > 0]):
        components, count = ndimage.label(classes == value, np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            if (components == number).sum() >= voxels:
                kept[components == number] = value
    return kept


@pytest.mark.parametrize("voxels", [5, 40, 10**6])
def test_objects_below_the_volume_become_background(labels, voxels):
    before = labels["pred"].clone()
    out = DropSmallObjectsd("pred", min_object_nm3=voxels * 1000.0)(labels)["pred"]
    assert np.array_equal(out[0].numpy(), kept_by_scipy(before[0].numpy(), voxels))
    assert out.dtype == before.dtype and torch.equal(out.affine, before.affine)
    assert torch.equal(labels["pred"], before)


def test_zero_keeps_all(labels):
    assert torch.equal(DropSmallObjectsd("pred", 0)(labels)["pred"], labels["pred"])


def test_a_negative_volume():
    with pytest.raises(InputError, match="min_object_nm3 is -1"):
        DropSmallObjectsd("pred", -1)
