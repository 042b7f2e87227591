"""Label values: renaming them, and cell boundaries out of instance ids."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy.ndimage import binary_dilation, generate_binary_structure

from crossem.errors import InputError
from crossem.transforms._tensors import like, plain


def map_labels(labels: np.ndarray, mapping: Mapping[int, int], name: str = "label") -> np.ndarray:
    """
    Replace label values by class indices.

    Args:
        labels: any shape, any real dtype.
        mapping: old value -> class index 0..255; keys may be decimal strings, as JSON has them.
        name: what to call the labels in an error.

    Returns:
        uint8 array of the same shape.

    Raises:
        InputError: when `labels` has a value that `mapping` lacks, or `mapping` is empty or leaves 0..255.
    """
    old, new = _sorted_mapping(mapping)
    position = np.searchsorted(old, labels).clip(max=len(old) - 1)
    unknown = old[position] != labels
    if unknown.any():
        values = ", ".join(f"{v:g}" for v in np.unique(labels[unknown])[:5])
        allowed = ", ".join(str(v) for v in old)
        raise InputError(f"{name} has the value(s) {values} that the mapping lacks: it maps {allowed}; add them")
    return new[position]


def boundaries_from_instances(instances: np.ndarray, thickness: int = 1, in_plane: bool = True) -> np.ndarray:
    """
    Mark the voxels on either side of a change of instance id; background (0) against an id is a change too.

    With `thickness` 1 this is `skimage.segmentation.find_boundaries(mode="thick", connectivity=1)`.

    Args:
        instances: (Z, Y, X) ids, any dtype.
        thickness: pixels marked on each side of the interface (city-block distance).
        in_plane: within each slice, as EM boundaries are drawn; otherwise in 3D.

    Returns:
        (Z, Y, X) uint8, 1 = boundary.

    Raises:
        InputError: when `thickness` is below 1.
    """
    if thickness < 1:
        raise InputError(f"thickness is {thickness}: give at least 1 pixel on each side of a boundary")
    boundary = np.zeros(instances.shape, dtype=bool)
    for axis in (1, 2) if in_plane else (0, 1, 2):
        ids, marks = np.moveaxis(instances, axis, 0), np.moveaxis(boundary, axis, 0)
        changes = ids[1:] != ids[:-1]
        marks[1:] |= changes
        marks[:-1] |= changes
    if thickness > 1:
        cross = generate_binary_structure(3, 1)
        if in_plane:
            cross[[0, 2]] = False
        boundary = binary_dilation(boundary, cross, iterations=thickness - 1)
    return boundary.astype(np.uint8)


class MapLabelsd(MapTransform):
    """
    Replace label values by class indices, explicitly; the result is uint8. See `map_labels`.

    Args:
        keys: labels (C, Z, Y, X).
        mapping: old value -> class index, one entry for every value in the file.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: for a value that `mapping` lacks.
    """

    def __init__(self, keys: KeysCollection, mapping: Mapping[int, int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        _sorted_mapping(mapping)
        self.mapping = dict(mapping)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            mapped = map_labels(plain(d[key]).cpu().numpy(), self.mapping, name=str(key))
            d[key] = like(torch.from_numpy(mapped), d[key])
        return d


class BoundariesFromInstancesd(MapTransform):
    """
    Replace instance ids by a boundary mask (1 = boundary, uint8). See `boundaries_from_instances`.

    Args:
        keys: instance ids (C, Z, Y, X).
        thickness: pixels marked on each side of an interface.
        in_plane: within each slice, or in 3D.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        thickness: int = 1,
        in_plane: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if thickness < 1:
            raise InputError(f"thickness is {thickness}: give at least 1 pixel on each side of a boundary")
        self.thickness, self.in_plane = thickness, in_plane

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            channels = plain(d[key]).cpu().numpy()
            marked = [boundaries_from_instances(ids, self.thickness, self.in_plane) for ids in channels]
            d[key] = like(torch.from_numpy(np.stack(marked)), d[key])
        return d


def _sorted_mapping(mapping: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Old values ascending (int64), and their class indices (uint8)."""
    try:
        pairs = sorted((int(old), int(new)) for old, new in mapping.items())
    except (TypeError, ValueError) as error:
        raise InputError(f"label mapping {dict(mapping)} is not from integers to integers") from error
    if not pairs or not all(0 <= new <= 255 for _, new in pairs):
        raise InputError(f"label mapping {dict(mapping)} must map at least one value, to class indices 0..255")
    old, new = zip(*pairs, strict=True)
    return np.array(old, dtype=np.int64), np.array(new, dtype=np.uint8)
