"""Appearance: closed forms on scipy's filters, what stays as it is, and that brightness stops telling objects apart."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from crossem.errors import InputError
from crossem.transforms import RandDarkRegionsd, RandLocalContrastd, RandObjectIntensityd

ALL = [RandObjectIntensityd, RandDarkRegionsd, RandLocalContrastd]
SHAPE = (4, 64, 56)


def noise(seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def two_objects():
    """(Z, Y, X) mask of two boxes far apart, wider than what smoothing reaches."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 4:28, 8:48] = mask[:, 36:60, 8:48] = True
    return mask


CENTRES = (slice(None), [16, 48], 28)  # of the two, in all slices


def sample(image, mask=None):
    data = {"image": torch.as_tensor(image)[None]}
    return data if mask is None else data | {"label": torch.from_numpy(mask.astype(np.uint8))[None]}


def in_plane(image, sigma_px):
    return gaussian_filter(image, (0, sigma_px, sigma_px))


@pytest.mark.parametrize("make", ALL)
def test_only_the_image_changes_and_never_in_place(make):
    affine = torch.diag(torch.tensor([9.0, 9.0, 45.0, 1.0], dtype=torch.float64))
    data = {key: MetaTensor(value, affine=affine) for key, value in sample(noise(), two_objects()).items()}
    before = {key: value.as_tensor().clone() for key, value in data.items()}
    out = make("image", prob=1.0).set_random_state(1)(data)
    assert all(torch.equal(data[key].as_tensor(), before[key]) for key in data) and out["label"] is data["label"]
    assert out["image"].dtype == torch.float32 and out["image"].shape == data["image"].shape
    assert torch.isfinite(out["image"]).all() and not torch.equal(out["image"].as_tensor(), before["image"])
    assert torch.equal(out["image"].affine, affine) and out["image"].applied_operations == []


@pytest.mark.parametrize("make", ALL)
def test_prob_zero_and_determinism(make):
    data = sample(noise(), two_objects())
    assert make("image", prob=0.0)(data)["image"] is data["image"]
    transform, runs = make("image", prob=0.5), []
    for seed in (7, 7, 8):
        transform.set_random_state(seed)
        runs.append(torch.stack([transform(data)["image"] for _ in range(12)]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    unchanged = [torch.equal(image, data["image"]) for image in runs[0]]
    assert 0 < sum(unchanged) < 12


def test_objects_get_brightness_and_contrast_from_the_rim_inwards():
    image, mask = noise(), two_objects()
    transform = RandObjectIntensityd("image", 1.0, brightness=(0.7, 0.7), contrast=(1.5, 1.5), rim_px=(1.2, 1.2))
    result = transform(sample(image, mask))["image"][0].numpy()
    inside = np.clip(2 * in_plane(mask.astype(np.float32), 1.2) - 1, 0, None)
    np.testing.assert_allclose(result, image + inside * (0.7 + 0.5 * (image - in_plane(image, 6.0))), atol=1e-5)
    np.testing.assert_array_equal(result[~mask], image[~mask])
    assert inside[CENTRES].min() == pytest.approx(1.0, abs=1e-4)


def test_every_object_has_its_own_brightness_or_all_have_one():
    transform = RandObjectIntensityd("image", 1.0, brightness=(-0.5, 1.5)).set_random_state(0)
    data = sample(np.zeros(SHAPE, dtype=np.float32), two_objects())  # no detail: what is added is the brightness
    added = np.stack([transform(data)["image"][0].numpy()[CENTRES] for _ in range(200)])
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1], added.shape), atol=1e-5)  # the same in all slices
    first, second = added[:, 0].T
    alike = np.isclose(first, second, atol=1e-4)
    assert alike.mean() == pytest.approx(0.5, abs=0.1)
    assert np.corrcoef(first[~alike], second[~alike])[0, 1] == pytest.approx(0, abs=0.25)
    assert -0.5 <= added.min() < -0.4 and 1.4 < added.max() <= 1.5 + 1e-4
    assert added.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("mask", [None, np.zeros(SHAPE, dtype=bool)])
def test_without_objects_there_is_nothing_to_change(mask):
    data = sample(noise(), mask)
    assert torch.equal(RandObjectIntensityd("image", 1.0)(data)["image"], data["image"])


def test_dark_regions_cover_the_asked_share():
    transform = RandDarkRegionsd("image", 1.0, amount=(2, 2), contrast=(1, 1), share=(0.2, 0.2)).set_random_state(0)
    data = sample(np.zeros(SHAPE, dtype=np.float32))
    results = [transform(data)["image"].numpy() for _ in range(20)]
    assert all(-2 <= result.min() < -1.5 and result.max() <= 0 for result in results)
    assert np.mean([result < -1 for result in results]) == pytest.approx(0.2, abs=0.03)


def test_dark_regions_lose_contrast_around_the_local_mean():
    """The same draws with no loss of contrast tell where the region is."""
    image, results = noise(), []
    for contrast in (1.0, 0.3):
        transform = RandDarkRegionsd("image", 1.0, amount=(0.8, 0.8), contrast=(contrast, contrast))
        results.append(transform.set_random_state(3)(sample(image))["image"][0].numpy())
    region = (image - results[0]) / 0.8
    expected = image + region * ((0.3 - 1) * (image - in_plane(image, 4.0)) - 0.8)
    np.testing.assert_allclose(results[1], expected, atol=1e-4)
    assert region.max() > 0.9


def test_objects_are_mostly_spared_from_the_dark():
    transform = RandDarkRegionsd("image", 1.0, amount=(1, 1), contrast=(1, 1), share=(1, 1)).set_random_state(0)
    data = sample(np.zeros(SHAPE, dtype=np.float32), two_objects())
    at_centres = np.stack([transform(data)["image"][0].numpy()[CENTRES] for _ in range(150)])
    spared = (np.abs(at_centres) < 1e-4).all(axis=(1, 2))
    assert spared.mean() == pytest.approx(0.8, abs=0.1)
    assert (at_centres[~spared] < -0.5).all()


def test_a_share_of_the_local_mean_is_subtracted():
    image = noise() + np.linspace(-3, 3, SHAPE[2], dtype=np.float32)
    transform = RandLocalContrastd("image", 1.0, sigma_px=5.0, share=(0.6, 0.6))
    result = transform(sample(image))["image"][0].numpy()
    flat = image - 0.6 * in_plane(image, 5.0)
    expected = (flat - flat.mean()) / flat.std() * image.std() + image.mean()
    np.testing.assert_allclose(result, expected, atol=1e-3)


def tissue(seed, object_brightness):
    """Rough objects in a smooth ground, and their mask; the brightness differs between the domains."""
    mask = two_objects()
    image = noise(seed) * np.where(mask, 0.6, 0.3) + np.where(mask, object_brightness, 0.0)
    return image.astype(np.float32), mask


def voxels(image, mask):
    """Brightness and roughness of every fifth voxel as features, and whether it is of an object."""
    mean = in_plane(image, 1.5)
    features = np.stack([mean, np.sqrt(in_plane((image - mean) ** 2, 2.0))], axis=-1)
    return features.reshape(-1, 2)[::5], mask.ravel()[::5]


def augmented_voxels(prob, draws=30):
    """Voxels of one source stack, where objects are as dark as the change brightens on average, after many draws."""
    image, mask = tissue(0, object_brightness=-0.85)
    transform = RandObjectIntensityd("image", prob).set_random_state(0)
    parts = [voxels(transform(sample(image, mask))["image"][0].numpy(), mask) for _ in range(draws)]
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def test_brightness_no_longer_tells_the_objects_but_roughness_does():
    before, after = (augmented_voxels(prob) for prob in (0.0, 1.0))
    (dark_before, rough_before), (dark_after, rough_after) = (
        [roc_auc_score(truth, sign * features[:, i]) for i, sign in enumerate((-1, 1))]
        for features, truth in (before, after)
    )
    assert dark_before > 0.95 and 0.4 < dark_after < 0.6
    assert rough_before > 0.9 and rough_after > 0.9


def test_what_is_learned_with_it_holds_where_objects_are_not_dark():
    features, truth = voxels(*tissue(1, object_brightness=0.2))
    plain, randomised = (
        roc_auc_score(truth, LogisticRegression().fit(*augmented_voxels(prob)).decision_function(features))
        for prob in (0.0, 0.7)
    )
    assert randomised > 0.9 and randomised > plain + 0.1


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (RandObjectIntensityd, {"prob": 1.5}, "prob"),
        (RandObjectIntensityd, {"brightness": (1, -1)}, "brightness"),
        (RandObjectIntensityd, {"contrast": (0, 1)}, "contrast"),
        (RandObjectIntensityd, {"rim_px": (0, 1)}, "rim_px"),
        (RandDarkRegionsd, {"amount": (1,)}, "amount"),
        (RandDarkRegionsd, {"contrast": (-1, 1)}, "contrast"),
        (RandDarkRegionsd, {"share": (-0.1, 1)}, "share"),
        (RandDarkRegionsd, {"size_px": (0, 4)}, "size_px"),
        (RandLocalContrastd, {"sigma_px": 0}, "sigma_px"),
        (RandLocalContrastd, {"share": (1, 0)}, "share"),
    ],
)
def test_wrong_parameters(make, options, name):
    with pytest.raises(InputError, match=f"^{name} is"):
        make("image", **options)


@pytest.mark.parametrize("make", ALL)
def test_a_volume_without_channels_is_refused(make):
    with pytest.raises(InputError, match="Z, Y, X"):
        make("image", prob=1.0)({"image": torch.zeros(3, 4, 5)})
