"""Intensity augmentations: what they change, by how much, and what they leave alone."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy.ndimage import gaussian_filter, label

from crossem.errors import InputError
from crossem.transforms import RandDarkBlobsd, RandEMBlurd, RandEMNoised, RandSliceIntensityd

ALL = [RandSliceIntensityd, RandEMNoised, RandEMBlurd, RandDarkBlobsd]


def patch(seed=0, shape=(1, 6, 48, 40)):
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))


@pytest.mark.parametrize("make", ALL)
def test_only_the_image_changes_and_never_in_place(make):
    affine = torch.diag(torch.tensor([9.0, 9.0, 45.0, 1.0], dtype=torch.float64))
    image, target = (
        MetaTensor(patch(), affine=affine),
        MetaTensor((patch() > 0).to(torch.uint8), affine=affine),
    )
    data = {"image": image.clone(), "label": target}
    out = make("image", prob=1.0).set_random_state(1)(data)
    assert torch.equal(data["image"].as_tensor(), image.as_tensor())
    assert out["label"] is target
    assert out["image"].dtype == torch.float32 and out["image"].shape == image.shape
    assert torch.isfinite(out["image"]).all() and not torch.equal(out["image"].as_tensor(), image.as_tensor())
    assert torch.equal(out["image"].affine, affine) and out["image"].applied_operations == []


@pytest.mark.parametrize("make", ALL)
def test_prob_zero_and_determinism(make):
    data = {"image": patch()}
    assert make("image", prob=0.0)(data)["image"] is data["image"]
    transform = make("image", prob=0.5)
    runs = []
    for seed in (7, 7, 8):
        transform.set_random_state(seed)
        runs.append(torch.stack([transform(data)["image"] for _ in range(12)]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_a_whole_compose_is_deterministic():
    transform = Compose([make("image", prob=0.7) for make in ALL])
    np.random.seed(0)
    first = [transform.set_random_state(3)({"image": patch()})["image"] for _ in range(1)]
    np.random.seed(1)
    torch.manual_seed(1)
    second = [transform.set_random_state(3)({"image": patch()})["image"] for _ in range(1)]
    assert torch.equal(first[0], second[0])


def fitted_lines(before, after):
    return np.array([np.polyfit(b.ravel(), a.ravel(), 1) for b, a in zip(before[0], after[0], strict=True)])


def test_slice_intensity_is_a_line_a_slice_within_bounds():
    image = patch()
    transform = RandSliceIntensityd(
        "image",
        1.0,
        volume_contrast=0,
        volume_brightness=0,
        slice_contrast=0.2,
        slice_brightness=0.3,
        gamma=0,
    ).set_random_state(0)
    lines = np.concatenate([fitted_lines(image, transform({"image": image})["image"]) for _ in range(40)])
    contrast, brightness = np.log(lines[:, 0]), lines[:, 1]
    for values, half_width in ((contrast, 0.2), (brightness, 0.3)):
        assert abs(values).max() <= half_width + 1e-4
        assert values.std() == pytest.approx(half_width / np.sqrt(3), rel=0.15)
        assert abs(values.mean()) < 0.15 * half_width


def test_volume_intensity_is_one_line_for_all_slices():
    image = patch()
    transform = RandSliceIntensityd("image", 1.0, slice_contrast=0, slice_brightness=0, gamma=0).set_random_state(0)
    lines = fitted_lines(image, transform({"image": image})["image"])
    np.testing.assert_allclose(lines, np.broadcast_to(lines[:1], lines.shape), atol=1e-4)
    assert abs(lines[0] - [1, 0]).max() > 1e-3


def test_gamma_keeps_order_mean_and_spread():
    image = patch()
    image[:, 3] = 0.0  # a missing slice
    transform = RandSliceIntensityd("image", 1.0, 0, 0, 0, 0, gamma=0.5).set_random_state(0)
    result = transform({"image": image})["image"]
    assert (result[:, 3] == 0).all()
    for before, after in zip(image[0], result[0], strict=True):
        assert after.mean().item() == pytest.approx(before.mean().item(), abs=1e-4)
        assert after.std().item() == pytest.approx(before.std().item(), abs=1e-4)
        order = before.flatten().argsort()
        assert (after.flatten()[order].diff() >= -1e-5).all()
    assert (result - image).abs().max() > 0.05


def test_gaussian_noise_has_the_asked_spread():
    image = patch(shape=(1, 8, 100, 100))
    transform = RandEMNoised("image", 1.0, gaussian_std=(0.2, 0.2), poisson_std=(0, 0)).set_random_state(0)
    noise = transform({"image": image})["image"] - image
    assert noise.std().item() == pytest.approx(0.2, rel=0.02) and abs(noise.mean().item()) < 0.005
    assert abs(np.corrcoef(noise.flatten(), image.flatten())[0, 1]) < 0.02


def test_poisson_noise_variance_is_proportional_to_the_signal():
    image = torch.tensor([-2.0, -1.0, 0.0, 1.0]).repeat_interleave(20000).view(1, 4, 200, 100)
    transform = RandEMNoised("image", 1.0, gaussian_std=(0, 0), poisson_std=(0.3, 0.3)).set_random_state(0)
    variance = (transform({"image": image})["image"] - image).var(dim=(0, 2, 3)).numpy()
    np.testing.assert_allclose(variance, 0.09 * np.array([0, 1, 2, 3]) / 1.5, rtol=0.05, atol=1e-9)


def test_blur_is_scipys_in_plane():
    image = patch()
    result = RandEMBlurd("image", 1.0, sigma_px=(1.3, 1.3)).set_random_state(0)({"image": image})["image"]
    np.testing.assert_allclose(result, gaussian_filter(image, (0, 0, 1.3, 1.3)), atol=1e-5)


def test_blur_of_every_slice_has_its_own_width():
    image = torch.randn(1, 1, 40, 40).expand(1, 6, 40, 40)
    transform = RandEMBlurd("image", 1.0, sigma_px=(0.5, 2.0), per_slice=True).set_random_state(0)
    spread = transform({"image": image})["image"].std(dim=(0, 2, 3))
    assert len(spread.unique()) == 6 and spread.max() < image.std()


def test_blobs_are_dark_round_and_of_two_sizes():
    transform = RandDarkBlobsd("image", 1.0, ((0.5, 3, 3), (0.5, 8, 8)), max_blobs=1, value=(-3, -3))
    transform.set_random_state(0)
    areas = []
    for _ in range(60):
        result = transform({"image": torch.zeros(1, 5, 80, 80)})["image"][0].numpy()
        assert result.min() >= -3 and result.max() <= 0
        mask = result < -1.4
        assert label(mask)[1] == 1 and mask.any(axis=(1, 2)).sum() == 1
        _, rows, columns = np.nonzero(mask)
        if min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < 79:
            assert np.ptp(rows) == np.ptp(columns)
            areas.append(mask.sum())
    sizes, counts = np.unique(areas, return_counts=True)
    np.testing.assert_allclose(sizes, [np.pi * 9, np.pi * 64], rtol=0.1)
    assert counts.min() > 5


def test_blobs_extend_in_z_by_their_radius():
    transform = RandDarkBlobsd("image", 1.0, ((3, 3, 3),), max_blobs=1).set_random_state(2)
    depth = (transform({"image": torch.zeros(1, 41, 41, 41)})["image"][0] < -1).any(dim=(1, 2)).sum()
    assert 5 <= depth <= 7


@pytest.mark.parametrize(
    "make, options, name",
    [
        (RandSliceIntensityd, {"prob": 1.5}, "prob"),
        (RandSliceIntensityd, {"gamma": -0.1}, "gamma"),
        (RandEMNoised, {"gaussian_std": (0.3, 0.1)}, "gaussian_std"),
        (RandEMBlurd, {"sigma_px": (-1, 1)}, "sigma_px"),
        (RandDarkBlobsd, {"radii_zyx_px": ((1, 2),)}, "radii_zyx_px"),
        (RandDarkBlobsd, {"max_blobs": 0}, "max_blobs"),
    ],
)
def test_wrong_parameters(make, options, name):
    with pytest.raises(InputError, match=name):
        make("image", **options)


def test_a_volume_without_channels_is_refused():
    with pytest.raises(InputError, match="Z, Y, X"):
        RandEMBlurd("image", prob=1.0)({"image": torch.zeros(3, 4, 5)})
