"""Pretend that only a part of a labelled volume is labelled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform

from crossem.errors import InputError
from crossem.transforms._tensors import like, plain

_AXES = {"z": 1, "y": 2, "x": 3}


class LabelFractiond(MapTransform):
    """
    Keep the labels of the first `fraction` of a volume's columns only.

    The weight becomes 1 in the labelled part (or stays, when there is a weight already) and 0 elsewhere,
    where the label becomes 0: a weighted loss never sees the rest. A fraction of 1 changes nothing.

    Args:
        label_key: label (C, Z, Y, X).
        weight_key: weight map to write, or to multiply when it exists; float32, the label's spatial shape.
        fraction: labelled part of the axis, from 0 to 1; rounded to columns, at least one. 0 is for items without
            labels.
        axis: "x" (columns), "y" or "z".
        allow_missing_keys: do nothing without a label.

    Raises:
        InputError: for a fraction outside [0, 1], an unknown axis, or a label where the fraction is 0.
    """

    def __init__(
        self,
        label_key: str = "label",
        weight_key: str = "weight",
        fraction: float = 1.0,
        axis: str = "x",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(label_key, allow_missing_keys)
        if not isinstance(fraction, int | float) or not 0.0 <= fraction <= 1.0:
            raise InputError(f"label_fraction is {fraction}: give a number from 0 (no labels) to 1")
        if axis not in _AXES:
            raise InputError(f"axis of the labelled fraction is {axis!r}: give 'x', 'y' or 'z'")
        self.weight_key, self.fraction, self.axis = weight_key, float(fraction), _AXES[axis]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.fraction == 1.0:
            return d
        for key in self.key_iterator(d):
            if self.fraction == 0.0:
                raise InputError("label_fraction is 0, and this training needs labels: give a number above 0")
            label = plain(d[key])
            length = label.shape[self.axis]
            labelled = max(1, round(self.fraction * length))
            beyond = (self.axis, labelled, length - labelled)
            old = d.get(self.weight_key)
            weight = torch.ones((1, *label.shape[1:])) if old is None else plain(old).to(torch.float32, copy=True)
            weight.narrow(*beyond).zero_()
            kept = label.clone()
            kept.narrow(*beyond).zero_()
            d[self.weight_key] = like(weight, d[key] if old is None else old)
            d[key] = like(kept, d[key])
        return d
