"""Random flips, rotations and smooth deformations of image, label and weight together.

Volumes are (C, Z, Y, X) patches of one grid for training: affines are passed on unchanged and nothing is
traced. Inputs are never changed in place, and all randomness comes from `self.R`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import ensure_tuple
from torch.nn import functional

from crossem.checks import checked_number, checked_range
from crossem.transforms._tensors import common_shape_zyx, like, plain


class RandFlipRotate90d(RandomizableTransform, MapTransform):
    """
    Flip each axis with probability 1/2 and turn by a multiple of 90 degrees in the plane of the slices only.

    A patch that is not square in y, x turns by 0 or 180 degrees, so its shape never changes.

    Args:
        keys: images, labels and weights of one grid.
        prob: probability of the transform.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(self, keys: KeysCollection, prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        keys = list(self.key_iterator(d))
        if not self._do_transform or not keys:
            return d
        _, height, width = common_shape_zyx(d, keys)
        flips = [axis for axis in (1, 2, 3) if self.R.rand() < 0.5]
        turns = int(self.R.randint(4)) if height == width else 2 * int(self.R.randint(2))
        for key in keys:
            turned = torch.rot90(plain(d[key]).flip(flips), turns, dims=(2, 3))
            d[key] = like(turned.contiguous(), d[key])
        return d


class RandElasticd(RandomizableTransform, MapTransform):
    """
    Smooth in-plane deformation with a small rotation and zoom; the slices stay registered.

    Intensities are interpolated linearly; label keys take the nearest pixel and keep their dtype. Beyond the
    edge the patch is mirrored. A zoom above 1 magnifies: object size is a part of the gap between data sets.

    Args:
        keys: images, labels and weights of one grid.
        prob: probability of the transform.
        displacement_px: standard deviation of the displacement at the control points.
        control_spacing_px: distance of the control points; bicubic between them.
        rotation_deg: the largest rotation, either way.
        zoom: range of the magnification, drawn evenly on a logarithmic scale.
        label_keys: those of `keys` to sample by the nearest pixel.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: for a negative displacement, a control spacing below 2, or a zoom below 0.1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.3,
        displacement_px: float = 3.0,
        control_spacing_px: float = 32.0,
        rotation_deg: float = 10.0,
        zoom: Sequence[float] = (0.9, 1.1),
        label_keys: KeysCollection = ("label", "weight"),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))
        self.displacement_px = checked_number("displacement_px", displacement_px)
        self.control_spacing_px = checked_number("control_spacing_px", control_spacing_px, minimum=2.0)
        self.rotation_deg = checked_number("rotation_deg", rotation_deg)
        self.zoom = checked_range("zoom", zoom, minimum=0.1)
        self.label_keys = ensure_tuple(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        keys = list(self.key_iterator(d))
        if not self._do_transform or not keys:
            return d
        _, height, width = common_shape_zyx(d, keys)
        coordinates = self._draw(height, width)
        for key in keys:
            sample = sample_nearest if key in self.label_keys else sample_linear
            d[key] = like(sample(plain(d[key]), coordinates), d[key])
        return d

    def _draw(self, height: int, width: int) -> torch.Tensor:
        """(2, Y, X) float32: the y and x, in pixels and inside the patch, that each output pixel shows."""
        angle = math.radians(self.R.uniform(-self.rotation_deg, self.rotation_deg))
        zoom = math.exp(self.R.uniform(math.log(self.zoom[0]), math.log(self.zoom[1])))
        control = [2 + math.ceil(n / self.control_spacing_px) for n in (height, width)]
        knots = torch.from_numpy(self.R.normal(scale=self.displacement_px, size=(1, 2, *control))).float()
        field = functional.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)[0]
        y = (torch.arange(height) - 0.5 * (height - 1))[:, None]
        x = (torch.arange(width) - 0.5 * (width - 1))[None, :]
        cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
        rows = _mirror(cosine * y - sine * x + 0.5 * (height - 1) + field[0], height)
        columns = _mirror(sine * y + cosine * x + 0.5 * (width - 1) + field[1], width)
        return torch.stack([rows, columns])


def sample_linear(volume: torch.Tensor, coordinates_yx: torch.Tensor) -> torch.Tensor:
    """
    Bilinear values of every slice of (C, Z, Y, X) at the given pixels.

    Args:
        volume: any real dtype.
        coordinates_yx: (2, Y', X') pixel coordinates inside the slice.

    Returns:
        (C, Z, Y', X') float32.
    """
    scale = torch.tensor([max(1, n - 1) for n in volume.shape[2:]]).view(2, 1, 1)
    grid = (2.0 * coordinates_yx / scale - 1.0).flip(0).permute(1, 2, 0)[None].to(volume.device)
    # slices as channels of one 2D image: one set of interpolation weights for all of them
    flat = volume.float().reshape(1, -1, *volume.shape[2:])
    sampled = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.view(*volume.shape[:2], *coordinates_yx.shape[1:])


def sample_nearest(volume: torch.Tensor, coordinates_yx: torch.Tensor) -> torch.Tensor:
    """As `sample_linear`, but the nearest pixel; any dtype, kept."""
    rows, columns = coordinates_yx.round().long().to(volume.device)
    index = (rows * volume.shape[3] + columns).flatten()
    return volume.flatten(2).index_select(2, index).view(*volume.shape[:2], *coordinates_yx.shape[1:])


def _mirror(coordinate: torch.Tensor, length: int) -> torch.Tensor:
    """Reflect coordinates at the first and last pixel; what is further out than one reflection is clamped."""
    last = length - 1.0
    return (last - (last - coordinate.abs()).abs()).clamp_(0.0, last)
