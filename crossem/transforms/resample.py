"""To a working voxel size and back, axis by axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, ensure_tuple

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.io import geometry
from crossem.transforms._tensors import plain
from crossem.transforms.separable import apply_along_axis, area_matrix, linear_matrix

_MAX_CLASSES = 256
_TIE = 1e-5  # scores closer than float32 summation can tell apart


def working_shape_zyx(
    shape_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    working_voxel_size_zyx_nm: Sequence[float],
    tolerance: float = 0.1,
) -> tuple[int, int, int]:
    """The (Z, Y, X) shape at the working voxel size; an axis within `tolerance` of it keeps its length."""
    return tuple(
        n if abs(size / working - 1.0) <= tolerance else max(1, round(n * size / working))
        for n, size, working in zip(shape_zyx, voxel_size_zyx_nm, working_voxel_size_zyx_nm, strict=True)
    )


def resample_intensity(volume: torch.Tensor, shape_zyx: Sequence[int]) -> torch.Tensor:
    """
    Resample intensities or probabilities to another number of voxels on the same extent.

    A shrinking axis averages over the exact overlap of old and new voxels, a growing one interpolates
    linearly between voxel centres (PyTorch's align_corners=False, edges clamped). Both keep sums over
    channels.

    Args:
        volume: (C, Z, Y, X), any real dtype.
        shape_zyx: wanted lengths.

    Returns:
        (C, *shape_zyx) float32.
    """
    if tuple(volume.shape[1:]) == tuple(shape_zyx):
        return volume.to(torch.float32, copy=True)
    out = torch.empty((len(volume), *shape_zyx), dtype=torch.float32, device=volume.device)
    for channel_in, channel_out in zip(volume, out, strict=True):
        _resample_channel(channel_in, channel_out)
    return out


def resample_labels(labels: torch.Tensor, shape_zyx: Sequence[int]) -> torch.Tensor:
    """
    Resample class indices by majority: the class whose resampled indicator volume is the largest.

    A tie goes to the larger index, so a structure that fills half a voxel is kept over the background (0).

    Args:
        labels: (C, Z, Y, X) class indices 0..255, any dtype.
        shape_zyx: wanted lengths.

    Returns:
        (C, *shape_zyx) uint8.

    Raises:
        InputError: when a value is not a class index (instance ids have no majority).
    """
    if labels.dtype in (torch.uint16, torch.uint32):  # PyTorch has no min and max for these
        labels = labels.to(torch.int64)
    classes = _class_indices(labels)
    if tuple(labels.shape[1:]) == tuple(shape_zyx):
        return labels.to(torch.uint8, copy=True)
    return torch.stack([_majority_channel(channel, shape_zyx, classes) for channel in labels])


class ResampleVoxelSized(MapTransform, InvertibleTransform):
    """
    Resample volumes to a working voxel size, per axis; invertible.

    The extent is kept: the output has max(1, round(n * size / working size)) voxels along an axis, over the
    same nanometres, and the affine says so (its voxel size is the exact one after rounding, its origin moves
    by the half-voxel shift). An axis within `tolerance` of the working size is left alone, so sections are
    not blurred for a difference of a few per cent. The inverse brings any number of channels back to the
    input's shape and affine: intensities and probabilities as float32, label keys (and, with Invertd's
    `nearest_interp=True`, class predictions) by majority as uint8.

    Args:
        keys: volumes (C, Z, Y, X) with an affine in nm, as `LoadVolumed` makes them.
        voxel_size_zyx_nm: working voxel size.
        label_keys: those of `keys` that hold class indices.
        tolerance: relative difference in voxel size that is not worth resampling.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: voxel size not three positive numbers, negative tolerance, or a volume without an affine.
    """

    def __init__(
        self,
        keys: KeysCollection,
        voxel_size_zyx_nm: Sequence[float],
        label_keys: KeysCollection = ("label",),
        tolerance: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.voxel_size_zyx_nm = geometry.check_voxel_size(voxel_size_zyx_nm)
        self.label_keys = ensure_tuple(label_keys)
        self.tolerance = checked_number("tolerance", tolerance)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._resample(d[key], key)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring `keys` back to the shape and affine that they had before this transform."""
        d = dict(data)
        for key in self.key_iterator(d):
            info = self.pop_transform(d[key])
            extra = info[TraceKeys.EXTRA_INFO]
            shape_zyx = tuple(int(n) for n in info[TraceKeys.ORIG_SIZE])
            back = resample_labels if extra["mode"] == "nearest" else resample_intensity
            volume = MetaTensor(back(plain(d[key]), shape_zyx)).copy_meta_from(d[key])
            volume.affine = torch.tensor(extra["affine"], dtype=torch.float64)
            d[key] = volume
        return d

    def _resample(self, volume: Any, key: Hashable) -> MetaTensor:
        if not isinstance(volume, MetaTensor):
            raise InputError(f"{key} has no voxel size: load it with LoadVolumed, or give a MetaTensor with its affine")
        shape_in, affine_in = tuple(volume.shape[1:]), volume.affine.to(torch.float64)
        shape_out = working_shape_zyx(
            shape_in, geometry.voxel_size_zyx_nm(affine_in), self.voxel_size_zyx_nm, self.tolerance
        )
        is_label = key in self.label_keys
        values = (resample_labels if is_label else resample_intensity)(plain(volume), shape_out)
        out = MetaTensor(values).copy_meta_from(volume)
        out.affine = affine_in @ _index_map(shape_in, shape_out)
        # "mode" is the entry that Invertd(nearest_interp=True) rewrites to "nearest"
        extra = {"mode": "nearest" if is_label else "linear", "affine": affine_in.tolist()}
        return self.push_transform(out, orig_size=shape_in, extra_info=extra)


def _index_map(shape_in: Sequence[int], shape_out: Sequence[int]) -> torch.Tensor:
    """4x4 float64 map of output indices to input indices: centre (j + 1/2) n_in/n_out - 1/2."""
    matrix = torch.eye(4, dtype=torch.float64)
    for axis, (n_in, n_out) in enumerate(zip(shape_in, shape_out, strict=True)):
        matrix[axis, axis] = n_in / n_out
        matrix[axis, 3] = 0.5 * (n_in / n_out - 1.0)
    return matrix


def _resample_channel(channel: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Resample one (Z, Y, X) channel to the shape of `out`, another one, and into it."""
    axes = [axis for axis in range(3) if channel.shape[axis] != out.shape[axis]]
    axes.sort(key=lambda a: out.shape[a] / channel.shape[a])  # shrink first, grow last: the least work
    for axis in axes:
        n_in, n_out = channel.shape[axis], out.shape[axis]
        matrix = area_matrix(n_in, n_out) if n_out < n_in else linear_matrix(n_in, n_out)
        channel = apply_along_axis(channel, matrix, axis, out=out if axis == axes[-1] else None)
    return out


def _majority_channel(channel: torch.Tensor, shape_zyx: Sequence[int], classes: list[int]) -> torch.Tensor:
    best = torch.full(tuple(shape_zyx), classes[0], dtype=torch.uint8, device=channel.device)
    if len(classes) == 1:
        return best
    scores = torch.empty((len(classes) - 1, *shape_zyx), device=channel.device)
    for index, score in zip(classes[1:], scores, strict=True):
        _resample_channel(channel == index, score)
    best_score = 1.0 - scores.sum(dim=0)  # the first class, without resampling it
    for index, score in zip(classes[1:], scores, strict=True):
        wins = score >= best_score - _TIE
        best[wins] = index
        best_score = torch.maximum(best_score, score)
    return best


def _class_indices(labels: torch.Tensor) -> list[int]:
    """The class indices present, ascending."""
    low, high = float(labels.min()), float(labels.max())
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if low < 0 or high >= _MAX_CLASSES or not whole:
        raise InputError(
            f"label values from {low:g} to {high:g} are not class indices 0..255: map them with MapLabelsd; "
            "to invert probabilities, set nearest_interp=False"
        )
    counts = torch.bincount(labels.to(torch.uint8).flatten(), minlength=1)
    return counts.nonzero().flatten().tolist()
