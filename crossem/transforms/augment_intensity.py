"""Random brightness, contrast, noise, blur and particles, as they differ between electron microscopes.

Images are normalised float32 (C, Z, Y, X): about mean 0, standard deviation 1 (`NormalizeSlicesd`). Only the
keys named are touched, inputs are never changed in place, and all randomness comes from `self.R`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from crossem.checks import checked_number, checked_range
from crossem.errors import InputError
from crossem.transforms._tensors import like, plain
from crossem.transforms.separable import apply_along_axis, gaussian_matrix


class _RandIntensityd(RandomizableTransform, MapTransform):
    """With probability `prob`, replace each key by `_augment(image)`; `_augment` draws from `self.R` only."""

    def __init__(self, keys: KeysCollection, prob: float, allow_missing_keys: bool) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(d):
                d[key] = like(self._augment(plain(d[key]).float()), d[key])
        return d

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class RandSliceIntensityd(_RandIntensityd):
    """
    Contrast, brightness and gamma, with a part for the volume and a part for each slice.

    v becomes exp(c + c_z) g(v) + b + b_z, where c, b (volume) and c_z, b_z (slice) are uniform within the
    given half-widths, and g is a gamma curve over each slice's range that keeps its mean and standard
    deviation.

    Args:
        keys: images.
        prob: probability of the transform.
        volume_contrast: half-width of c, a log factor.
        volume_brightness: half-width of b, in standard deviations.
        slice_contrast: half-width of c_z.
        slice_brightness: half-width of b_z.
        gamma: half-width of the logarithm of each slice's gamma (half of it common to the volume); 0 = none.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        volume_contrast: float = 0.3,
        volume_brightness: float = 0.3,
        slice_contrast: float = 0.15,
        slice_brightness: float = 0.15,
        gamma: float = 0.4,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.volume_contrast = checked_number("volume_contrast", volume_contrast)
        self.volume_brightness = checked_number("volume_brightness", volume_brightness)
        self.slice_contrast = checked_number("slice_contrast", slice_contrast)
        self.slice_brightness = checked_number("slice_brightness", slice_brightness)
        self.gamma = checked_number("gamma", gamma)

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        slices = image.shape[1]
        contrast = np.exp(self._jitter(self.volume_contrast, 1) + self._jitter(self.slice_contrast, slices))
        brightness = self._jitter(self.volume_brightness, 1) + self._jitter(self.slice_brightness, slices)
        gamma = np.exp(self._jitter(0.5 * self.gamma, 1) + self._jitter(0.5 * self.gamma, slices))
        if self.gamma > 0:
            image = _gamma_curve(image, _per_slice(gamma, image))
        return image * _per_slice(contrast, image) + _per_slice(brightness, image)

    def _jitter(self, half_width: float, size: int) -> np.ndarray:
        return self.R.uniform(-half_width, half_width, size)


class RandEMNoised(_RandIntensityd):
    """
    Gaussian noise plus noise that grows with the signal, as counting electrons gives (Poisson).

    The variance is g^2 + p^2 u, where u is the intensity above the darkest voxel, 1 at the image's mean.

    Args:
        keys: images.
        prob: probability of the transform.
        gaussian_std: range of g, in standard deviations of the image.
        poisson_std: range of p, the signal-dependent standard deviation at mean brightness.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        gaussian_std: Sequence[float] = (0.0, 0.3),
        poisson_std: Sequence[float] = (0.0, 0.3),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.gaussian_std = checked_range("gaussian_std", gaussian_std, minimum=0.0)
        self.poisson_std = checked_range("poisson_std", poisson_std, minimum=0.0)

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        gaussian, poisson = self.R.uniform(*self.gaussian_std), self.R.uniform(*self.poisson_std)
        # a generator seeded from R: float32 normals, three times as fast as RandomState's
        generator = np.random.default_rng(self.R.randint(2**31))
        noise = torch.from_numpy(generator.standard_normal(tuple(image.shape), dtype=np.float32)).to(image.device)
        signal = image - image.min()
        signal = signal / signal.mean().clamp(min=1e-6)
        return image + noise * (signal * poisson**2 + gaussian**2).sqrt_()


class RandEMBlurd(_RandIntensityd):
    """
    Gaussian blur within the slices (defocus, a wider beam); edges reflected.

    Args:
        keys: images.
        prob: probability of the transform.
        sigma_px: range of the standard deviation, in pixels.
        per_slice: a standard deviation for every slice, or one for all.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.3,
        sigma_px: Sequence[float] = (0.4, 1.5),
        per_slice: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.sigma_px, self.per_slice = checked_range("sigma_px", sigma_px, minimum=0.0), per_slice

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        if self.per_slice:
            return torch.cat([self._blurred(image[:, z : z + 1]) for z in range(image.shape[1])], dim=1)
        return self._blurred(image)

    def _blurred(self, image: torch.Tensor) -> torch.Tensor:
        sigma = self.R.uniform(*self.sigma_px)
        if sigma < 1e-3:
            return image.clone()
        rows, columns = (gaussian_matrix(n, sigma) for n in image.shape[2:])
        return torch.stack([apply_along_axis(apply_along_axis(c, rows, 1), columns, 2) for c in image])


class RandDarkBlobsd(_RandIntensityd):
    """
    Small, round, dark particles in two sizes (Aalto 2022, section 3.3), so a network learns to ignore them.

    The particles are ellipsoids with a soft edge at random places; labels are left as they are.

    Args:
        keys: images.
        prob: probability of the transform.
        radii_zyx_px: the sizes to choose from, each as radii in voxels; anisotropic voxels need a small z.
        max_blobs: 1 to this many particles.
        value: range of the intensity inside, in standard deviations of a normalised image.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: for radii that are not positive triples, or max_blobs below 1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.2,
        radii_zyx_px: Sequence[Sequence[float]] = ((0.6, 3.0, 3.0), (1.2, 7.0, 7.0)),
        max_blobs: int = 6,
        value: Sequence[float] = (-4.0, -2.5),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.radii_zyx_px = [tuple(float(r) for r in radii) for radii in radii_zyx_px]
        if not self.radii_zyx_px or not all(len(r) == 3 and min(r) > 0 for r in self.radii_zyx_px):
            raise InputError(
                f"radii_zyx_px is {radii_zyx_px}: give triples of positive radii, as [[1, 3, 3], [1, 7, 7]]"
            )
        if max_blobs < 1:
            raise InputError(f"max_blobs is {max_blobs}: give at least 1, or prob 0 for no particles")
        self.max_blobs, self.value = max_blobs, checked_range("value", value)

    def _augment(self, image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        for _ in range(self.R.randint(1, self.max_blobs + 1)):
            radii = self.radii_zyx_px[self.R.randint(len(self.radii_zyx_px))]
            centre = [self.R.randint(n) for n in image.shape[1:]]
            _paint_ellipsoid(image, centre, radii, self.R.uniform(*self.value))
        return image


def _per_slice(values: np.ndarray, image: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=image.device).view(1, -1, 1, 1)


def _gamma_curve(image: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Each slice's range to [0, 1], to the power gamma, and back to its mean and standard deviation."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    curved = ((image - low) / (high - low).clamp(min=1e-6)).pow_(gamma)
    std, mean = torch.std_mean(image, dim=(2, 3), keepdim=True, correction=0)
    curved_std, curved_mean = torch.std_mean(curved, dim=(2, 3), keepdim=True, correction=0)
    return curved.sub_(curved_mean).mul_(std / curved_std.clamp(min=1e-6)).add_(mean)


def _paint_ellipsoid(image: torch.Tensor, centre_zyx: Sequence[int], radii_zyx: Sequence[float], value: float) -> None:
    """Blend `value` into (C, Z, Y, X) within an ellipsoid with an edge one pixel soft; in place."""
    box, squares = [slice(None)], torch.zeros(())
    for axis, (centre, radius) in enumerate(zip(centre_zyx, radii_zyx, strict=True)):
        low, high = max(0, int(centre - radius - 1)), min(image.shape[axis + 1], int(centre + radius + 2))
        box.append(slice(low, high))
        squares = squares[..., None] + ((torch.arange(low, high) - centre) / radius) ** 2
    opacity = ((1.0 - squares.sqrt()) * max(radii_zyx) + 0.5).clamp(0.0, 1.0).to(image.device)
    image[tuple(box)].lerp_(torch.full((), value, device=image.device).expand_as(image[tuple(box)]), opacity)
