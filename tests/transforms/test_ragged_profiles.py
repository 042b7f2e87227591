"""Profiles that are no compact shape go, section by section and class by class; against scipy's convex hull."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull

from crossem.errors import InputError
from crossem.io import write_volume
from crossem.transforms import DropRaggedProfilesd, LoadVolumed

VOXEL_SIZE_ZYX_NM = (40.0, 5.0, 5.0)
MIN_SOLIDITY = 0.8


def load(classes, folder):
    write_volume(folder / "labels.nii", classes[None], VOXEL_SIZE_ZYX_NM)
    return LoadVolumed("pred", num_classes=3)({"pred": str(folder / "labels.nii")})


def solidity(profile):
    """Area over area of the convex hull of the pixels' corners."""
    pixels = np.argwhere(profile)
    corners = np.concatenate([pixels + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return len(pixels) / ConvexHull(corners).volume


def test_ragged_profiles_become_background(tmp_path):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((6, 120, 140)), (0.5, 2.5, 2.5))
    classes = np.digitize(smooth, np.quantile(smooth, [0.7, 0.85])).astype(np.uint8)
    data = load(classes, tmp_path)
    out = DropRaggedProfilesd("pred", MIN_SOLIDITY)(data)["pred"]
    seen = []
    for before, after in zip(classes, out[0].numpy(), strict=True):
        for value in (1, 2):
            profiles, count = ndimage.label(before == value)
            for number in range(1, count + 1):
                profile = profiles == number
                if profile.sum() < 40 or abs(solidity(profile) - MIN_SOLIDITY) < 0.08:
                    continue  # skimage counts the pixels of the hull, so that small profiles differ a little
                seen.append(solidity(profile) > MIN_SOLIDITY)
                assert (after[profile] == (value if seen[-1] else 0)).all()
    assert sum(seen) > 10 and len(seen) - sum(seen) > 10
    assert not out[0].numpy()[classes == 0].any()
    assert out.dtype == data["pred"].dtype and torch.equal(out.affine, data["pred"].affine)
    assert np.array_equal(data["pred"][0].numpy(), classes)


@pytest.fixture
def classes():
    """A square in one section, an angle in the next."""
    classes = np.zeros((2, 40, 40), np.uint8)
    classes[:, 5:30, 5:30] = 1
    classes[1, 8:30, 8:30] = 0
    return classes


def test_a_section_does_not_decide_for_its_neighbours(classes, tmp_path):
    out = DropRaggedProfilesd("pred", MIN_SOLIDITY)(load(classes, tmp_path))["pred"][0]
    assert (int(out[0].sum()), int(out[1].sum())) == (625, 0)


def test_zero_keeps_all(classes, tmp_path):
    assert int(DropRaggedProfilesd("pred", 0)(load(classes, tmp_path))["pred"].sum()) == classes.sum()


def test_a_solidity_above_one():
    with pytest.raises(InputError, match="min_solidity is 1.1"):
        DropRaggedProfilesd("pred", 1.1)
