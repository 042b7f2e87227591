"""Random changes that leave texture and shape as the only sign of an object.

In one stack mitochondria may be the darkest things there are, in another glia and membranes are as dark. A network
learns whatever tells objects apart in the source, so a brightness that does so by chance has to be taken from it
(domain randomisation: Tobin et al. 2017, arXiv:1703.06907).

Images are normalised float32 (C, Z, Y, X) on the CPU, as in `augment_intensity`. Labels are read, never changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import cc3d
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from crossem.checks import checked_number, checked_range
from crossem.transforms._tensors import like, plain
from crossem.transforms.augment_intensity import _RandIntensityd
from crossem.transforms.separable import apply_along_axis, gaussian_matrix


class _RandAppearanced(RandomizableTransform, MapTransform):
    """With probability `prob`, replace each channel by `_augment(image, label)`; the label is None if absent."""

    def __init__(self, keys: KeysCollection, prob: float, label_key: str, allow_missing_keys: bool) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        label = plain(d[self.label_key])[0].numpy() > 0 if self.label_key in d else None
        for key in self.key_iterator(d):
            channels = [self._augment(channel, label) for channel in plain(d[key]).float()]
            d[key] = like(torch.stack(channels), d[key])
        return d

    def _augment(self, image: torch.Tensor, label: np.ndarray | None) -> torch.Tensor:
        raise NotImplementedError


class RandObjectIntensityd(_RandAppearanced):
    """
    Brightness and contrast of the labelled objects' interior.

    Inside, v becomes m + g (v - m) + b with m the local mean; b and g are drawn for each object, or for all objects of
    the patch together, as likely. It sets in from the outline inwards, so the membrane keeps its intensity.

    Args:
        keys: images.
        prob: probability of the transform.
        brightness: range of b, in standard deviations of a normalised image.
        contrast: range of g, uniform in its logarithm.
        rim_px: range of the half-width of the rim over which the change sets in, within the section.
        label_key: objects are where it is above 0; without it nothing is changed.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: a probability or a range that is none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.7,
        brightness: Sequence[float] = (-0.3, 2.0),
        contrast: Sequence[float] = (0.7, 2.0),
        rim_px: Sequence[float] = (0.5, 2.0),
        label_key: str = "label",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, label_key, allow_missing_keys)
        self.brightness = checked_range("brightness", brightness)
        self.contrast = checked_range("contrast", contrast, minimum=1e-3)
        self.rim_px = checked_range("rim_px", rim_px, minimum=0.1)

    def _augment(self, image: torch.Tensor, label: np.ndarray | None) -> torch.Tensor:
        if label is None or not label.any():
            return image
        each = self.R.rand() < 0.5
        objects = cc3d.connected_components(label) if each else label.astype(np.uint32)
        # a smoothed mask is 0.5 on a straight edge and rises to 1 within about two sigma
        inside = (2.0 * _smoothed(_tensor(label), self.R.uniform(*self.rim_px)) - 1.0).clamp_(min=0.0)
        count = int(objects.max()) + 1
        brightness = _tensor(self.R.uniform(*self.brightness, size=count))
        contrast = _tensor(np.exp(self.R.uniform(*np.log(self.contrast), size=count)))
        index = torch.from_numpy(objects.astype(np.int32))
        detail = image - _smoothed(image, 6.0)
        return image + inside * (brightness[index] + (contrast[index] - 1.0) * detail)


class RandDarkRegionsd(_RandAppearanced):
    """
    Dark regions of random form with less contrast, as glia and dense cytoplasm have; they are not objects.

    Args:
        keys: images.
        prob: probability of the transform.
        amount: range of the darkening, in standard deviations of a normalised image.
        contrast: range of the factor on the contrast inside.
        share: range of the share of the patch that becomes dark.
        size_px: range of the correlation length of the regions' form within the section.
        label_key: objects mostly stay as they are (in one patch of five they darken too).
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: a probability or a range that is none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.4,
        amount: Sequence[float] = (0.5, 2.0),
        contrast: Sequence[float] = (0.4, 1.0),
        share: Sequence[float] = (0.05, 0.35),
        size_px: Sequence[float] = (3.0, 14.0),
        label_key: str = "label",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, label_key, allow_missing_keys)
        self.amount, self.contrast = checked_range("amount", amount), checked_range("contrast", contrast, minimum=0.0)
        self.share = checked_range("share", share, minimum=0.0)
        self.size_px = checked_range("size_px", size_px, minimum=0.1)

    def _augment(self, image: torch.Tensor, label: np.ndarray | None) -> torch.Tensor:
        noise = torch.from_numpy(self.R.standard_normal(image.shape).astype(np.float32))
        form = _smoothed(noise, self.R.uniform(*self.size_px), self.R.uniform(*self.size_px))
        form = apply_along_axis(form, gaussian_matrix(len(form), self.R.uniform(0.5, 2.0)), 0)
        level = np.quantile(form[:, ::4, ::4].numpy(), 1.0 - min(1.0, self.R.uniform(*self.share)))
        region = torch.sigmoid((form - float(level)) / (0.15 * form.std() + 1e-6))
        if label is not None and self.R.rand() < 0.8:
            region *= 1.0 - _smoothed(_tensor(label), 1.0)
        detail = image - _smoothed(image, 4.0)
        change = (self.R.uniform(*self.contrast) - 1.0) * detail - self.R.uniform(*self.amount)
        return image + region * change


class RandLocalContrastd(_RandIntensityd):
    """
    Subtract a random share of the local mean, so that brightness counts less and detail more.

    The result has the image's mean and standard deviation.

    Args:
        keys: images.
        prob: probability of the transform.
        sigma_px: of the Gaussian that takes the local mean, within the section.
        share: range of the share of it that is subtracted.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: a probability or a range that is none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.4,
        sigma_px: float = 12.0,
        share: Sequence[float] = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.sigma_px, self.share = checked_number("sigma_px", sigma_px, minimum=0.1), checked_range("share", share)

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        smooth = torch.stack([_smoothed(channel, self.sigma_px) for channel in image])
        flat = image - self.R.uniform(*self.share) * smooth
        std, mean = torch.std_mean(image)
        flat_std, flat_mean = torch.std_mean(flat)
        return (flat - flat_mean) * (std / flat_std.clamp_min(1e-6)) + mean


def _smoothed(image: torch.Tensor, sigma_y_px: float, sigma_x_px: float | None = None) -> torch.Tensor:
    """Gaussian within the sections of (Z, Y, X)."""
    sigma_x_px = sigma_y_px if sigma_x_px is None else sigma_x_px
    image = apply_along_axis(image, gaussian_matrix(image.shape[1], sigma_y_px), 1)
    return apply_along_axis(image, gaussian_matrix(image.shape[2], sigma_x_px), 2)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
