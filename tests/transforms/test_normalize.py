"""NormalizeSlicesd: invariance, robustness, never NaN."""

import numpy as np
import pytest
import torch

from crossem.errors import InputError
from crossem.transforms import NormalizeSlicesd, normalize_slices


def textured(seed=0, shape=(1, 6, 90, 110)):
    return torch.from_numpy(np.random.RandomState(seed).gamma(4.0, 10.0, shape).astype(np.float32))


def test_invariant_under_brightness_and_contrast_of_each_slice():
    volume, random = textured(), np.random.RandomState(1)
    gain = torch.from_numpy(random.uniform(0.05, 30.0, (1, 6, 1, 1))).float()
    offset = torch.from_numpy(random.uniform(-300.0, 300.0, (1, 6, 1, 1))).float()
    torch.testing.assert_close(normalize_slices(volume * gain + offset), normalize_slices(volume), atol=2e-3, rtol=0)


def test_moments_are_those_of_the_clipped_intensities():
    volume = textured(shape=(1, 2, 100, 100))
    result = normalize_slices(volume, limit=100.0)[0].numpy()
    for slice_in, slice_out in zip(volume[0].numpy(), result, strict=True):
        clipped = np.clip(slice_in, *np.percentile(slice_in, (1, 99), method="nearest"))
        np.testing.assert_allclose(slice_out, (slice_in - clipped.mean()) / clipped.std(), atol=1e-4)


def test_uint8_slices_of_low_contrast_agree_with_full_contrast():
    fine = textured(shape=(1, 1, 200, 200)).clamp(0, 120)
    coarse = (fine / 8).round().to(torch.uint8)
    difference = normalize_slices(fine) - normalize_slices(coarse)
    assert difference.abs().mean() < 0.15 and difference.mean().abs() < 0.02


def test_a_few_artefacts_change_little_and_are_limited():
    volume = textured()
    dirty = volume.clone()
    dirty[:, :, :5, :5] = 1e6
    result = normalize_slices(dirty)
    assert result.max() == 4.0
    assert (result - normalize_slices(volume))[:, :, 10:].abs().max() < 0.15


@pytest.mark.parametrize("value", [0.0, 37.1, -1e5, 3e8])
def test_a_constant_slice_becomes_zero(value):
    volume = textured()
    expected = normalize_slices(volume)
    volume[:, 2] = value
    result = normalize_slices(volume)
    assert (result[:, 2] == 0).all()
    assert torch.equal(result[:, 3:], expected[:, 3:])


def test_values_that_are_not_finite_become_the_mean():
    volume = textured()
    volume[0, 0, :3] = float("nan")
    volume[0, 1, 5, 5] = float("inf")
    volume[0, 2] = float("nan")
    result = normalize_slices(volume)
    assert torch.isfinite(result).all() and (result[0, 2] == 0).all()
    assert result[0, 0, :3].abs().max() < 0.1


def test_dictionary_transform_keeps_the_input_and_channels_apart():
    volume = torch.cat([textured(0), 5 * textured(1) + 9]).to(torch.uint8)
    before = volume.clone()
    result = NormalizeSlicesd("image")({"image": volume})["image"]
    assert torch.equal(volume, before) and result.dtype == torch.float32
    torch.testing.assert_close(result[1:], normalize_slices(volume[1:]))


@pytest.mark.parametrize("options", [{"percentiles": (99, 1)}, {"percentiles": (-1, 50)}, {"limit": 0.0}])
def test_wrong_parameters(options):
    with pytest.raises(InputError, match=next(iter(options))):
        NormalizeSlicesd("image", **options)
