"""Histogram matching: the order of the grey values stays, their distribution becomes the reference's."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.transforms import MatchHistogramd

SHAPE = (1, 3, 20, 24)


def volume(seed, power=1.0):
    """Normal values, and a monotone curve of them for another form of the histogram."""
    values = np.random.default_rng(seed).standard_normal(SHAPE)
    return torch.from_numpy((np.sign(values) * np.abs(values) ** power).astype(np.float32))


def matching(*references, keys="image"):
    """The transform; an item's "image" is its volume already."""
    return MatchHistogramd(keys, [{"image": reference} for reference in references], preprocessing=dict)


def test_a_voxel_gets_the_reference_value_of_its_rank():
    image, reference = volume(0), volume(1, power=2.0) - 0.5
    matched = matching(reference)({"image": image})["image"].numpy().ravel()
    expected = np.empty(image.numel())
    expected[image.numpy().ravel().argsort()] = np.sort(reference.numpy(), axis=None)
    np.testing.assert_allclose(matched, expected, atol=1e-5)


def test_quantiles_are_those_of_all_references_together_whatever_their_sizes():
    references = volume(1) - 2.0, torch.cat([volume(2), volume(3)], dim=2) + 3.0
    matched = matching(*references)({"image": volume(0)})["image"]
    everything = np.concatenate([reference.numpy().ravel() for reference in references])
    shares = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(matched, shares), np.quantile(everything, shares), atol=0.1)


def test_the_order_stays_and_equal_values_stay_equal():
    image = (volume(0) * 8).round()  # as few grey levels as a stack of low contrast
    before = image.numpy().ravel()
    after = matching(volume(1, power=3.0))({"image": image})["image"].numpy().ravel()
    levels, index = np.unique(before, return_inverse=True)
    curve = np.array([after[index == i][0] for i in range(len(levels))])
    assert (np.diff(curve) > 0).all() and len(levels) > 20
    np.testing.assert_array_equal(after, curve[index])


def test_a_volume_that_has_the_histogram_already_stays_as_it_is():
    image = volume(0)
    torch.testing.assert_close(matching(image.flip(2))({"image": image})["image"], image)


def test_only_the_image_changes_and_never_in_place():
    affine = torch.diag(torch.tensor([9.0, 9.0, 45.0, 1.0], dtype=torch.float64))
    image, label = MetaTensor(volume(0), affine=affine), volume(0) > 0
    before = image.as_tensor().clone()
    out = matching(volume(1) + 2.0)({"image": image, "label": label})
    assert torch.equal(image.as_tensor(), before) and out["label"] is label
    assert out["image"].shape == image.shape and out["image"].dtype == torch.float32
    assert torch.equal(out["image"].affine, affine)


def test_no_reference():
    with pytest.raises(InputError, match="no reference volumes: give at least one item of the target"):
        matching()
