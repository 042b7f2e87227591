"""Voxel weights in a fixed ratio of two classes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform

from crossem.checks import checked_number
from crossem.transforms._tensors import like, plain


class RatioWeightMapd(MapTransform):
    """
    Write weights that are `ratio` times as high on one class as on the rest, with mean 1.

    The baseline of Roy and Chakraborty, section 5.2, with 2:1, 5:1 and 10:1: unlike the maps of
    `crossem.transforms.weights` it does not know where in a cell a voxel is.

    Args:
        label_key: class indices (1, Z, Y, X).
        boundary_class: the class index that gets the higher weight.
        ratio: its weight divided by that of the rest, above 0.
        weight_key: where the (1, Z, Y, X) float32 weight goes.
        allow_missing_keys: do nothing without a label.

    Raises:
        InputError: when `ratio` is not above 0.
    """

    def __init__(
        self,
        label_key: str = "label",
        boundary_class: int = 1,
        ratio: float = 10.0,
        weight_key: str = "weight",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(label_key, allow_missing_keys)
        self.boundary_class, self.weight_key = boundary_class, weight_key
        self.ratio = checked_number("boundary_ratio", ratio, minimum=1e-3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            boundary = plain(d[key]) == self.boundary_class
            weight = torch.ones(boundary.shape).masked_fill_(boundary, self.ratio)
            d[self.weight_key] = like(weight / weight.mean(dtype=torch.float64).float(), d[key])
        return d
