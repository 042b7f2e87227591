"""Label mapping and boundaries against numpy and scikit-image."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import distance_transform_cdt
from skimage.segmentation import find_boundaries

from crossem.errors import InputError
from crossem.transforms import BoundariesFromInstancesd, MapLabelsd, boundaries_from_instances, map_labels


def instances():
    coarse = np.random.RandomState(0).randint(0, 5, (3, 6, 7))
    return np.kron(coarse, np.ones((2, 5, 6), dtype=int)) * 1000


def test_map_labels():
    labels = np.array([[0, 32, 255], [191, 32, 0]])
    result = map_labels(labels, {"0": 1, 32: 1, 191: 2, 255: 0})
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, [[1, 1, 0], [2, 1, 1]])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32])
def test_map_labels_dictionary_keeps_the_affine(dtype):
    label = MetaTensor(torch.tensor([[[[0, 255]]]]).to(dtype), affine=torch.diag(torch.tensor([5.0, 6.0, 7.0, 1.0])))
    out = MapLabelsd("label", {0: 0, 255: 1})({"label": label})["label"]
    assert out.flatten().tolist() == [0, 1] and out.dtype == torch.uint8
    assert torch.equal(out.affine, label.affine)


def test_unknown_values_are_named():
    with pytest.raises(InputError, match="label.* 7.*0, 255"):
        MapLabelsd("label", {0: 0, 255: 1})({"label": torch.tensor([[[[0, 7]]]])})


@pytest.mark.parametrize("mapping", [{}, {0: 256}, {0: -1}, {"a": 1}])
def test_wrong_mappings(mapping):
    with pytest.raises(InputError, match="mapping"):
        MapLabelsd("label", mapping)


def test_in_plane_boundaries_are_scikit_images():
    ids = instances()
    expected = np.stack([find_boundaries(ids_2d, connectivity=1, mode="thick") for ids_2d in ids])
    np.testing.assert_array_equal(boundaries_from_instances(ids), expected)


def test_3d_boundaries_are_scikit_images():
    ids = instances()
    expected = find_boundaries(ids, connectivity=1, mode="thick")
    np.testing.assert_array_equal(boundaries_from_instances(ids, in_plane=False), expected)


def test_thickness_is_pixels_on_each_side():
    ids = instances()
    thin = boundaries_from_instances(ids)
    distance = np.stack([distance_transform_cdt(1 - b, metric="taxicab") for b in thin])
    np.testing.assert_array_equal(boundaries_from_instances(ids, thickness=3), (distance <= 2) & thin.any())


def test_boundaries_dictionary():
    ids = instances()
    out = BoundariesFromInstancesd("label")({"label": torch.from_numpy(ids)[None]})["label"]
    assert out.dtype == torch.uint8
    np.testing.assert_array_equal(out[0].numpy(), boundaries_from_instances(ids))


def test_wrong_thickness():
    with pytest.raises(InputError, match="thickness"):
        BoundariesFromInstancesd("label", thickness=0)
