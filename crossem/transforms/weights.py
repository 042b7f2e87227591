"""Voxel weight maps that make thin boundaries count.

Source: Roy and Chakraborty, cell boundary segmentation with entropy and distance-transform pixel weights and
adversarial adaptation, sections 4.1 and 4.2. Both maps come from the label alone; they are made after
resampling, on the grid that the network sees.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import edt
import numpy as np
import torch
from monai.transforms import MapTransform

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.io import geometry
from crossem.transforms._tensors import like, plain
from crossem.transforms.separable import apply_along_axis, gaussian_matrix

_EDT_THREADS = os.cpu_count()


def entropy_weight_map(labels: np.ndarray, num_classes: int, window_zyx: Sequence[int] = (1, 5, 5)) -> np.ndarray:
    """
    Shannon entropy of the labels in the window around each voxel (Roy and Chakraborty, section 4.1).

    The logarithm's base is `num_classes`, so values lie in [0, 1]: 0 where the window holds one class. At
    the edges of the volume the histogram counts the voxels inside only. The paper's window is 5 x 5 pixels
    of a slice.

    Args:
        labels: (Z, Y, X) class indices below `num_classes`.
        num_classes: number of classes, at least 2.
        window_zyx: odd lengths in voxels.

    Returns:
        (Z, Y, X) float32.

    Raises:
        InputError: for fewer than 2 classes, a window that is not three odd lengths, or a label out of range.
    """
    _check_entropy(num_classes, window_zyx)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"label has values {labels.min()}..{labels.max()}, num_classes is {num_classes}: map them with MapLabelsd"
        )
    inside = _voxels_inside(labels.shape, window_zyx)
    # H = log N - sum_c n_c log n_c / N, with n log n from a table: counts are small integers
    counts = np.arange(int(inside.max()) + 1, dtype=np.float64)
    n_log_n = (counts * np.log(np.maximum(counts, 1.0))).astype(np.float32)
    total, rest = np.zeros(labels.shape, dtype=np.float32), inside.copy()
    for index in range(1, num_classes):
        count = _box_count(labels == index, window_zyx, inside.dtype)
        total += n_log_n[count]
        rest -= count
    total += n_log_n[rest]
    entropy = (n_log_n[inside] - total) / inside  # exactly 0 where one class fills the window
    return np.clip(entropy / np.float32(np.log(num_classes)), 0.0, 1.0)


def distance_weight_map(
    boundary: np.ndarray,
    voxel_size_zyx_nm: Sequence[float],
    sigma_nm: float = 100.0,
    in_plane: bool = True,
    max_distance_nm: float = 50.0,
) -> np.ndarray:
    """
    Distance transform of a boundary mask, smoothed by a Gaussian (Roy and Chakraborty, section 4.2).

    The distance is measured inside the boundary, to the nearest voxel outside it, so it is 0 on non-boundary
    voxels: only then does the paper's smoothing "avoid giving 0 weights to most of the non-boundary
    pixels", and only then do boundaries and what surrounds them weigh more than cell interiors. The paper's
    sigma is 10 pixels of 10 nm; here it is physical, so anisotropic voxels get the same map.

    Args:
        boundary: (Z, Y, X), non-zero = boundary.
        voxel_size_zyx_nm: voxel size.
        sigma_nm: standard deviation of the Gaussian (edges reflected, cut at 4 sigma); 0 = no smoothing.
        in_plane: slice by slice, or in 3D.
        max_distance_nm: distances are cut here. Thin boundaries never get there; membranes at a glancing
            angle are labelled as patches, and would else outweigh all the rest (50 to 1 in real sections).

    Returns:
        (Z, Y, X) float32, mean 1; 1 everywhere for a volume without boundary.
    """
    mask = np.ascontiguousarray(boundary != 0)
    size = tuple(float(v) for v in voxel_size_zyx_nm)
    if in_plane:
        distance = np.stack([edt.edt(m, anisotropy=size[1:], parallel=_EDT_THREADS) for m in mask])
    else:
        distance = edt.edt(mask, anisotropy=size, parallel=_EDT_THREADS)
    # the cut also covers a slice that is boundary as a whole, where the distance is infinite
    smooth = torch.from_numpy(np.ascontiguousarray(distance, dtype=np.float32)).clamp_(max=max_distance_nm)
    for axis in (1, 2) if in_plane else (0, 1, 2):
        if sigma_nm > 0:
            smooth = apply_along_axis(smooth, gaussian_matrix(smooth.shape[axis], sigma_nm / size[axis]), axis)
    return _with_mean_one(smooth.clamp_(min=0.0).numpy(), minimum=0.0)


class EntropyWeightMapd(MapTransform):
    """
    Write the entropy weight map of a label; see `entropy_weight_map`.

    The weight is minimum + (1 - minimum) * entropy / mean(entropy): mean 1, and nowhere below `minimum`.

    Args:
        label_key: class indices (1, Z, Y, X).
        num_classes: number of classes.
        window_zyx: odd window lengths in voxels.
        minimum: weight of a voxel whose window holds one class, from 0 to 1.
        weight_key: where the (1, Z, Y, X) float32 weight goes.
        allow_missing_keys: do nothing without a label.

    Raises:
        InputError: as `entropy_weight_map`, and for `minimum` outside [0, 1].
    """

    def __init__(
        self,
        label_key: str = "label",
        num_classes: int = 2,
        window_zyx: Sequence[int] = (1, 5, 5),
        minimum: float = 0.1,
        weight_key: str = "weight",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(label_key, allow_missing_keys)
        _check_entropy(num_classes, window_zyx)
        self.num_classes, self.window_zyx = num_classes, tuple(window_zyx)
        self.minimum = checked_number("minimum", minimum, maximum=1.0)
        self.weight_key = weight_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            labels = plain(d[key])[0].cpu().numpy()
            entropy = entropy_weight_map(labels, self.num_classes, self.window_zyx)
            weight = _with_mean_one(entropy, self.minimum)
            d[self.weight_key] = like(torch.from_numpy(weight)[None], d[key])
        return d


class DistanceWeightMapd(MapTransform):
    """
    Write the smoothed distance weight map of a boundary label; see `distance_weight_map`.

    The weight is minimum + (1 - minimum) * map: mean 1, and nowhere below `minimum`. The voxel size comes
    from the label's affine.

    Args:
        label_key: class indices (1, Z, Y, X) with an affine in nm.
        boundary_class: the class index that is boundary.
        sigma_nm: standard deviation of the Gaussian.
        in_plane: slice by slice, or in 3D.
        max_distance_nm: distances inside a boundary are cut here.
        minimum: lowest weight, from 0 to 1.
        weight_key: where the (1, Z, Y, X) float32 weight goes.
        allow_missing_keys: do nothing without a label.

    Raises:
        InputError: negative `sigma_nm`, `max_distance_nm` not above 0, `minimum` outside [0, 1], or a
            label without an affine.
    """

    def __init__(
        self,
        label_key: str = "label",
        boundary_class: int = 1,
        sigma_nm: float = 100.0,
        in_plane: bool = True,
        max_distance_nm: float = 50.0,
        minimum: float = 0.1,
        weight_key: str = "weight",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(label_key, allow_missing_keys)
        self.boundary_class, self.in_plane, self.weight_key = boundary_class, in_plane, weight_key
        self.sigma_nm = checked_number("sigma_nm", sigma_nm)
        self.max_distance_nm = checked_number("max_distance_nm", max_distance_nm, minimum=1e-3)
        self.minimum = checked_number("minimum", minimum, maximum=1.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if not hasattr(d[key], "affine"):
                raise InputError(f"{key} has no voxel size: load it with LoadVolumed, or give a MetaTensor")
            boundary = (plain(d[key])[0] == self.boundary_class).cpu().numpy()
            size = geometry.voxel_size_zyx_nm(d[key].affine)
            weight = distance_weight_map(boundary, size, self.sigma_nm, self.in_plane, self.max_distance_nm)
            d[self.weight_key] = like(torch.from_numpy(_with_mean_one(weight, self.minimum))[None], d[key])
        return d


def _check_entropy(num_classes: int, window_zyx: Sequence[int]) -> None:
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}: an entropy weight map needs at least 2 classes")
    if len(window_zyx) != 3 or not all(isinstance(n, int) and n > 0 and n % 2 for n in window_zyx):
        raise InputError(f"window_zyx is {list(window_zyx)}: give three odd lengths in voxels, as [1, 5, 5]")


def _with_mean_one(values: np.ndarray, minimum: float) -> np.ndarray:
    """`values` (>= 0) scaled to mean 1 and mixed with the constant 1, so that none falls below `minimum`."""
    mean = float(values.mean(dtype=np.float64))
    if mean <= 0.0:
        return np.ones_like(values)
    return np.float32(minimum) + values * np.float32((1.0 - minimum) / mean)


def _voxels_inside(shape_zyx: Sequence[int], window_zyx: Sequence[int]) -> np.ndarray:
    """(Z, Y, X) number of the window's voxels that lie inside the volume, in the smallest fitting dtype."""
    dtype = np.min_scalar_type(int(np.prod(window_zyx)))
    per_axis = []
    for n, window in zip(shape_zyx, window_zyx, strict=True):
        index = np.arange(n)
        low, high = np.maximum(index - window // 2, 0), np.minimum(index + window // 2, n - 1)
        per_axis.append((high - low + 1).astype(dtype))
    z, y, x = per_axis
    return z[:, None, None] * y[:, None] * x


def _box_count(mask: np.ndarray, window_zyx: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Number of set voxels in the window: shifted sums in small integers, much faster than in floats."""
    count = mask.astype(dtype)
    for axis, window in enumerate(window_zyx):
        source, target = np.moveaxis(count, axis, 0), np.moveaxis(count.copy(), axis, 0)
        for shift in range(1, min(window // 2, len(source) - 1) + 1):
            target[shift:] += source[:-shift]
            target[:-shift] += source[shift:]
        count = np.moveaxis(target, 0, axis)
    return count
