"""Plain tensors in, the caller's kind of tensor out: no metadata work inside the arithmetic."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from crossem.errors import InputError


def plain(volume: Any) -> torch.Tensor:
    """The (C, Z, Y, X) values as a plain tensor sharing memory; MetaTensor arithmetic costs 50 us a step."""
    tensor = volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume)
    if tensor.ndim != 4:
        raise InputError(f"volume of shape {tuple(tensor.shape)} is not (C, Z, Y, X): add the missing axes first")
    return tensor


def like(values: torch.Tensor, reference: Any) -> torch.Tensor:
    """`values` with the metadata (affine, file name, applied operations) of `reference`, if that has any."""
    return MetaTensor(values).copy_meta_from(reference) if isinstance(reference, MetaTensor) else values


def common_shape_zyx(data: Mapping[Hashable, Any], keys: Sequence[Hashable]) -> tuple[int, int, int]:
    """The (Z, Y, X) shape that all `keys` of `data` share; InputError when they differ."""
    shapes = {key: tuple(data[key].shape[1:]) for key in keys}
    if len(set(shapes.values())) != 1:
        raise InputError(f"volumes differ in (Z, Y, X) shape: {shapes}; give image and label on one grid")
    return next(iter(shapes.values()))
