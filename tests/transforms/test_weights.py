"""Weight maps against plain numpy and scipy."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter
from skimage.io import imread

from crossem.errors import InputError
from crossem.transforms import DistanceWeightMapd, EntropyWeightMapd, distance_weight_map, entropy_weight_map

SIZE = (47.5, 4.6, 5.0)


def entropy_reference(labels, num_classes, window_zyx):
    result = np.zeros(labels.shape)
    for centre in np.ndindex(labels.shape):
        box = tuple(slice(max(0, c - w // 2), c + w // 2 + 1) for c, w in zip(centre, window_zyx, strict=True))
        counts = np.bincount(labels[box].ravel(), minlength=num_classes)
        p = counts[counts > 0] / counts.sum()
        result[centre] = -(p * np.log(p)).sum() / np.log(num_classes)
    return result


def blobs(shape=(4, 40, 50), seed=0):
    noise = gaussian_filter(np.random.RandomState(seed).randn(*shape), (0.5, 3, 3))
    return noise > 0.05


@pytest.mark.parametrize("window_zyx", [(1, 5, 5), (3, 3, 5), (9, 1, 51), (3, 17, 17)])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_entropy_is_that_of_the_window(window_zyx, num_classes):
    labels = np.random.RandomState(0).randint(0, num_classes, (5, 13, 12)).astype(np.uint8)
    labels[:, :6] = 1
    result = entropy_weight_map(labels, num_classes, window_zyx)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, entropy_reference(labels, num_classes, window_zyx), atol=1e-5)


def test_entropy_is_one_for_an_even_mixture_and_zero_for_one_class():
    labels = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    assert entropy_weight_map(labels, 4, (1, 1, 7))[0, 0, 0] == pytest.approx(1.0, abs=1e-6)
    assert not entropy_weight_map(np.ones((2, 8, 8), np.uint8), 2).any()


def test_entropy_refuses_labels_out_of_range():
    with pytest.raises(InputError, match="num_classes"):
        entropy_weight_map(np.full((1, 3, 3), 2, np.uint8), 2)


@pytest.mark.parametrize("in_plane", [True, False])
def test_distance_is_scipys_transform_smoothed_by_scipy(in_plane):
    mask = blobs()
    if in_plane:
        distance = np.stack([distance_transform_edt(m, sampling=SIZE[1:]) for m in mask])
        sigma = (0, 20 / SIZE[1], 20 / SIZE[2])
    else:
        distance, sigma = distance_transform_edt(mask, sampling=SIZE), [20 / s for s in SIZE]
    expected = gaussian_filter(np.minimum(distance, 15.0), sigma)
    result = distance_weight_map(mask, SIZE, sigma_nm=20.0, in_plane=in_plane, max_distance_nm=15.0)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected / expected.mean(), atol=1e-4)
    assert result.mean() == pytest.approx(1.0, abs=1e-5)


def test_distance_weights_fall_with_the_distance_from_a_thin_boundary():
    mask = np.zeros((1, 61, 61), dtype=bool)
    mask[:, 30:32] = True
    profile = distance_weight_map(mask, (10, 10, 10))[0, :, 30]
    assert np.all(np.diff(profile[31:]) < 0) and profile[31] > 2 * profile[45] > 0


def test_distance_of_all_or_nothing_is_uniform():
    for mask in (np.zeros((2, 5, 6), bool), np.ones((2, 5, 6), bool)):
        np.testing.assert_allclose(distance_weight_map(mask, SIZE), 1.0, rtol=1e-5)


def test_without_smoothing_only_boundaries_weigh():
    mask = blobs()
    weight = distance_weight_map(mask, SIZE, sigma_nm=0.0)
    assert (weight[mask] > 0).all() and not weight[~mask].any()


def labelled():
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.tensor([[0, 0, SIZE[2]], [0, SIZE[1], 0], [SIZE[0], 0, 0]])
    return MetaTensor(torch.from_numpy(blobs().astype(np.uint8))[None], affine=affine)


@pytest.mark.parametrize("make", [EntropyWeightMapd, DistanceWeightMapd])
@pytest.mark.parametrize("minimum", [0.0, 0.25, 1.0])
def test_dictionary_weights_have_mean_one_and_a_floor(make, minimum):
    label = labelled()
    weight = make(minimum=minimum)({"label": label})["weight"]
    assert weight.dtype == torch.float32 and weight.shape == label.shape
    assert weight.mean().item() == pytest.approx(1.0, abs=1e-4) and weight.min().item() >= minimum - 1e-6
    assert torch.equal(weight.affine, label.affine)


def test_dictionary_distance_reads_the_voxel_size():
    label = labelled()
    weight = DistanceWeightMapd(minimum=0.0, sigma_nm=30.0, in_plane=False)({"label": label})["weight"]
    expected = distance_weight_map(label[0].numpy(), SIZE, sigma_nm=30.0, in_plane=False)
    np.testing.assert_allclose(weight[0].numpy(), expected, rtol=1e-5)


def test_real_membranes_against_scipy():
    """Two slices of real labels, whose membranes are patches in places."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("CROSSEM_TEST_DATA", default)) / "vnc" / "stack1_train" / "membranes"
    files = sorted(folder.glob("*"))[:2]
    if not files:
        pytest.skip("no real data: set CROSSEM_TEST_DATA to the folder that holds vnc/")
    mask = np.stack([imread(f) for f in files])[:, :300, :300] > 0
    distance = np.stack([distance_transform_edt(m, sampling=4.6) for m in mask]).clip(max=50.0)
    expected = gaussian_filter(distance, (0, 100 / 4.6, 100 / 4.6))
    result = distance_weight_map(mask, (47.5, 4.6, 4.6))
    np.testing.assert_allclose(result, expected / expected.mean(), atol=1e-3)
    assert result[mask].mean() > 1.5 * result[~mask].mean()
    count = np.stack([uniform_filter(m.astype(float), 5, mode="constant") for m in mask])[:, 2:-2, 2:-2]
    p = np.stack([count, 1 - count]).clip(1e-12)
    entropy = entropy_weight_map(mask.astype(np.uint8), 2)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(entropy, -(p * np.log2(p)).sum(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    "make, options, name",
    [
        (EntropyWeightMapd, {"window_zyx": (1, 4, 5)}, "window_zyx"),
        (EntropyWeightMapd, {"num_classes": 1}, "num_classes"),
        (EntropyWeightMapd, {"minimum": 1.5}, "minimum"),
        (DistanceWeightMapd, {"sigma_nm": -1.0}, "sigma_nm"),
        (DistanceWeightMapd, {"max_distance_nm": 0.0}, "max_distance_nm"),
    ],
)
def test_wrong_parameters(make, options, name):
    with pytest.raises(InputError, match=name):
        make(**options)


def test_distance_needs_a_voxel_size():
    with pytest.raises(InputError, match="voxel size"):
        DistanceWeightMapd()({"label": torch.zeros(1, 2, 2, 2)})
