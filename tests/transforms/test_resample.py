"""ResampleVoxelSized against numpy integrals, PyTorch interpolation and MONAI's Invertd."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureTyped, Invertd
from scipy.ndimage import center_of_mass

from crossem.errors import InputError
from crossem.transforms import NormalizeSlicesd, ResampleVoxelSized, resample_intensity, resample_labels
from crossem.transforms.resample import working_shape_zyx


def affine_of(voxel_size_zyx_nm, origin_xyz_nm=(0.0, 0.0, 0.0)):
    z, y, x = voxel_size_zyx_nm
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, x], [0, y, 0], [z, 0, 0]]
    affine[:3, 3] = origin_xyz_nm
    return torch.tensor(affine, dtype=torch.float64)


def volume_of(values, voxel_size_zyx_nm, origin_xyz_nm=(0.0, 0.0, 0.0)):
    return MetaTensor(torch.as_tensor(values)[None], affine=affine_of(voxel_size_zyx_nm, origin_xyz_nm))


def integral_average(values, n_out, axis):
    """Area average by interpolating the running integral: exact for piecewise constant data."""
    values = np.moveaxis(values.astype(np.float64), axis, -1)
    n_in = values.shape[-1]
    integral = np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], axis=-1)
    edges = np.arange(n_out + 1) * n_in / n_out
    rows = integral.reshape(-1, n_in + 1)
    at_edges = np.stack([np.interp(edges, np.arange(n_in + 1), row) for row in rows])
    means = np.diff(at_edges, axis=-1) * n_out / n_in
    return np.moveaxis(means.reshape(*values.shape[:-1], n_out), -1, axis)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_shrinking_is_the_exact_area_average(dtype):
    values = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (11, 130, 77))).to(dtype)
    expected = values.to(torch.float64).numpy()
    for axis, n_out in enumerate((3, 83, 36)):
        expected = integral_average(expected, n_out, axis)
    result = resample_intensity(values[None], (3, 83, 36))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result[0].numpy(), expected, rtol=1e-5)
    assert result.mean().item() == pytest.approx(expected.mean(), rel=1e-5)


def test_growing_is_pytorch_linear_interpolation():
    values = torch.rand(2, 3, 7, 90, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(values[None].double(), size=(13, 7, 211), mode="trilinear")[0]
    result = resample_intensity(values, (13, 7, 211)).double()
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_growing_one_slice_repeats_it():
    values = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(resample_intensity(values, (5, 4, 4)), values.expand(1, 5, 4, 4))


def test_one_axis_may_grow_while_another_shrinks():
    values = torch.rand(1, 4, 30, 6, dtype=torch.float64)
    shrunk = integral_average(values[0].numpy(), 7, 1)
    expected = torch.nn.functional.interpolate(torch.from_numpy(shrunk)[None, None], size=(9, 7, 6), mode="trilinear")
    result = resample_intensity(values, (9, 7, 6))
    np.testing.assert_allclose(result[0].numpy(), expected[0, 0].numpy(), rtol=1e-5)


def test_labels_take_the_majority():
    labels = np.random.RandomState(1).randint(0, 4, (6, 40, 30)).astype(np.uint8)
    scores = []
    for index in range(4):
        score = (labels == index).astype(np.float64)
        for axis, n_out in enumerate((4, 17, 11)):
            score = integral_average(score, n_out, axis)
        scores.append(score)
    ranked = np.sort(scores, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-4
    result = resample_labels(torch.from_numpy(labels)[None], (4, 17, 11))[0].numpy()
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[clear], np.argmax(scores, axis=0)[clear])


def test_a_tie_goes_to_the_larger_class():
    labels = torch.tensor([0, 1, 2, 0, 3, 0, 0, 0], dtype=torch.uint8).view(1, 1, 1, 8)
    assert resample_labels(labels, (1, 1, 4)).flatten().tolist() == [1, 2, 3, 0]


def test_labels_keep_absent_classes_absent_and_accept_uint16():
    labels = torch.full((1, 2, 6, 6), 7, dtype=torch.uint16)
    assert resample_labels(labels, (2, 3, 4)).unique().tolist() == [7]


def test_instance_ids_are_refused():
    with pytest.raises(InputError, match="MapLabelsd"):
        resample_labels(torch.tensor([[[[0, 300]]]]), (1, 1, 1))


def test_working_shape_leaves_close_axes_alone():
    assert working_shape_zyx((20, 1024, 1000), (47.5, 4.6, 4.6), (45, 9.5, 9.5)) == (20, 496, 484)
    assert working_shape_zyx((20, 9, 9), (47.5, 4.6, 4.6), (45, 9.5, 9.5), tolerance=0.0) == (21, 4, 4)
    assert working_shape_zyx((1, 5, 5), (5, 5, 5), (50, 5, 5)) == (1, 5, 5)


def test_affine_keeps_the_extent_and_positions():
    size, origin = (8.0, 5.0, 4.0), (100.0, -50.0, 7.0)
    z, y, x = np.meshgrid(*(np.arange(n) for n in (40, 50, 60)), indexing="ij")
    blob = np.exp(-(((z - 18) * 8) ** 2 + ((y - 21) * 5) ** 2 + ((x - 33) * 4) ** 2) / (2 * 30.0**2))
    image = volume_of(blob.astype(np.float32), size, origin)
    out = ResampleVoxelSized("image", (20.0, 11.0, 2.5))({"image": image})["image"]
    assert out.shape[1:] == (16, 23, 96)
    for volume in (image, out):
        centre = np.append(center_of_mass(volume[0].numpy()), 1.0)
        np.testing.assert_allclose(volume.affine.numpy() @ centre, [232.0, 55.0, 151.0, 1.0], atol=0.2)
    for corner in ((0, 0, 0), (1, 1, 1)):  # outer faces of the first and last voxels
        faces = [np.append(np.array(corner) * v.shape[1:] - 0.5, 1.0) for v in (image, out)]
        np.testing.assert_allclose(image.affine.numpy() @ faces[0], out.affine.numpy() @ faces[1], atol=1e-9)


def test_label_keys_are_resampled_by_majority_on_the_images_grid():
    values = np.random.RandomState(0).randint(0, 3, (5, 20, 20)).astype(np.uint8)
    data = {"image": volume_of(values, (50, 5, 5)), "label": volume_of(values, (50, 5, 5))}
    out = ResampleVoxelSized(("image", "label"), (50, 10, 10))(data)
    assert out["image"].dtype == torch.float32 and out["label"].dtype == torch.uint8
    torch.testing.assert_close(out["label"].as_tensor(), resample_labels(torch.from_numpy(values)[None], (5, 10, 10)))
    torch.testing.assert_close(out["image"].affine, out["label"].affine)
    assert data["image"].dtype == torch.uint8 and data["image"].shape == (1, 5, 20, 20)


def preprocessing():
    return Compose(
        [
            EnsureTyped(keys="image", dtype=torch.uint8, track_meta=True),
            ResampleVoxelSized(keys="image", voxel_size_zyx_nm=(10.0, 9.5, 20.0)),
            NormalizeSlicesd(keys="image"),
        ]
    )


def inverter(transform, **options):
    options = {"nearest_interp": False, "to_tensor": True, **options}
    return Invertd(keys="pred", transform=transform, orig_keys="image", **options)


def test_invertd_returns_probabilities_to_the_input_grid():
    image = volume_of(np.random.RandomState(0).randint(0, 256, (7, 33, 50)).astype(np.uint8), (47.5, 4.6, 7.0))
    transform = preprocessing()
    data = transform({"image": image})
    assert data["image"].shape == (1, 33, 16, 18)
    data["pred"] = MetaTensor(torch.rand(3, *data["image"].shape[1:]).softmax(dim=0))
    expected = resample_intensity(data["pred"].as_tensor(), (7, 33, 50))
    pred = inverter(transform)(data)["pred"]
    assert isinstance(pred, MetaTensor) and pred.applied_operations == []
    torch.testing.assert_close(pred.as_tensor(), expected)
    torch.testing.assert_close(pred.as_tensor().sum(dim=0), torch.ones(7, 33, 50))
    assert torch.equal(pred.affine, image.affine)


def test_invertd_after_dataloader_and_decollate():
    images = [volume_of(np.full((4, 20, 30), n, np.uint8), (50, 5, 5), (n, 0, 0)) for n in (1, 2)]
    transform = preprocessing()
    loader = DataLoader(Dataset([{"image": v} for v in images], transform), batch_size=2, num_workers=0)
    batch = next(iter(loader))
    batch["pred"] = torch.nn.Conv3d(1, 5, 1)(batch["image"])  # metadata passes through a network
    post = inverter(transform)
    for item, image in zip(decollate_batch(batch), images, strict=True):
        pred = post(item)["pred"]
        assert pred.shape == (5, 4, 20, 30)
        assert torch.equal(pred.affine, image.affine)


def test_nearest_interp_returns_class_predictions_by_majority():
    transform = preprocessing()
    data = transform({"image": volume_of(np.zeros((4, 20, 30), np.uint8), (50, 5, 20))})
    data["pred"] = MetaTensor(torch.rand(1, *data["image"].shape[1:]).round())
    expected = resample_labels(data["pred"].as_tensor(), (4, 20, 30))
    pred = inverter(transform, nearest_interp=True)(data)["pred"]
    assert pred.dtype == torch.uint8 and torch.equal(pred.as_tensor(), expected)


def test_inverse_of_an_untouched_volume_is_the_volume():
    image = volume_of(np.random.RandomState(0).rand(3, 4, 5).astype(np.float32), (50, 5, 5))
    transform = ResampleVoxelSized("image", (48, 5.2, 5))
    out = transform.inverse(transform({"image": image}))["image"]
    assert torch.equal(out.as_tensor(), image.as_tensor()) and torch.equal(out.affine, image.affine)


@pytest.mark.parametrize("size", [(10, 0, 10), (10, -5, 10), (10, 10), (float("nan"), 1, 1)])
def test_wrong_voxel_sizes(size):
    with pytest.raises(InputError, match="voxel_size_zyx_nm"):
        ResampleVoxelSized("image", size)


def test_a_tensor_without_affine_is_refused():
    with pytest.raises(InputError, match="no voxel size"):
        ResampleVoxelSized("image", (10, 10, 10))({"image": torch.zeros(1, 2, 2, 2)})
