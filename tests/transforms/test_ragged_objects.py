"""Objects of ragged profiles go, the others stay whole, class by class; against scipy's convex hull."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull

from crossem.errors import InputError
from crossem.io import write_volume
from crossem.transforms import DropRaggedObjectsd, LoadVolumed

VOXEL_SIZE_ZYX_NM = (40.0, 5.0, 5.0)
MIN_SOLIDITY = 0.8


def load(classes, folder):
    write_volume(folder / "labels.nii", classes[None], VOXEL_SIZE_ZYX_NM)
    return LoadVolumed("pred", num_classes=3)({"pred": str(folder / "labels.nii")})


def mean_solidity(object_):
    """Area over area of the convex hull of the pixels' corners, of all profiles of one object (Z, Y, X)."""
    area = filled = 0
    for section in object_:
        profiles, count = ndimage.label(section)
        for number in range(1, count + 1):
            pixels = np.argwhere(profiles == number)
            corners = np.concatenate([pixels + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))])
            area += len(pixels)
            filled += len(pixels) ** 2 / ConvexHull(corners).volume
    return filled / area


def test_ragged_objects_become_background(tmp_path):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((12, 160, 180)), (0.7, 3.0, 3.0))
    classes = np.digitize(smooth, np.quantile(smooth, [0.8, 0.9])).astype(np.uint8)
    data = load(classes, tmp_path)
    out = DropRaggedObjectsd("pred", MIN_SOLIDITY)(data)["pred"]
    kept = []
    for value in (1, 2):
        objects, count = ndimage.label(classes == value, np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            solidity = mean_solidity(objects == number)
            if abs(solidity - MIN_SOLIDITY) > 0.1:  # skimage counts the pixels of the hull, which is a little more
                kept.append(solidity > MIN_SOLIDITY)
                assert (out[0].numpy()[objects == number] == (value if kept[-1] else 0)).all()
    assert sum(kept) > 10 and len(kept) - sum(kept) > 10
    assert not out[0].numpy()[classes == 0].any()
    assert out.dtype == data["pred"].dtype and torch.equal(out.affine, data["pred"].affine)
    assert np.array_equal(data["pred"][0].numpy(), classes)


@pytest.mark.parametrize(("angles", "kept"), [(1, True), (6, False)])
def test_the_mean_over_all_profiles_decides(tmp_path, caplog, angles, kept):
    classes = np.zeros((7, 40, 40), np.uint8)
    classes[: angles + 1, 5:30, 5:30] = 1
    classes[1 : angles + 1, 8:30, 8:30] = 0  # angles of a solidity of 0.37, a quarter as large as the square
    classes[0, 35, 35] = 2
    out = DropRaggedObjectsd("pred", MIN_SOLIDITY)(load(classes, tmp_path))["pred"][0].numpy()
    assert np.array_equal(out, classes if kept else np.where(classes == 1, 0, classes))
    assert ("min_solidity 0.8 drops 100 % of the voxels" in caplog.text) is not kept


def test_zero_keeps_all(tmp_path):
    classes = np.zeros((1, 40, 40), np.uint8)
    classes[0, 5:30, 5:8] = classes[0, 5:8, 5:30] = 1  # an angle
    assert not DropRaggedObjectsd("pred", MIN_SOLIDITY)(load(classes, tmp_path))["pred"].any()
    assert np.array_equal(DropRaggedObjectsd("pred", 0)(load(classes, tmp_path))["pred"][0].numpy(), classes)


def test_nothing_found(tmp_path, caplog):
    data = load(np.eye(40, dtype=np.uint8)[None], tmp_path)
    data["pred"] = torch.zeros_like(data["pred"])
    assert not DropRaggedObjectsd("pred", MIN_SOLIDITY)(data)["pred"].any()
    assert not caplog.records


def test_a_solidity_above_one():
    with pytest.raises(InputError, match="min_solidity is 1.1"):
        DropRaggedObjectsd("pred", 1.1)
