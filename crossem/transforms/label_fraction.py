"""Pretend that only a part of a labelled volume is labelled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform, Transform

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.transforms._tensors import like, plain

_AXES = {"z": 1, "y": 2, "x": 3}


class LabelFractiond(MapTransform):
    """
    Keep the labels of the first `fraction` of a volume's columns only, as if nobody had labelled the rest.

    The weight is what `weighting` makes of the labelled part alone, or 1, and 0 elsewhere, where the label becomes
    0: neither a weighted loss nor the weights see anything of the rest. A fraction of 1 leaves the label as it is.

    Args:
        label_key: label (C, Z, Y, X).
        weight_key: weight map to write; (1, Z, Y, X) float32.
        fraction: labelled part of the axis, from 0 to 1; rounded to columns, at least one. 0 is for items without
            labels.
        axis: "x" (columns), "y" or "z".
        weighting: writes a "weight" of the label that it is given, or none; see `boundary_weights`.
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
        weighting: Transform | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(label_key, allow_missing_keys)
        if axis not in _AXES:
            raise InputError(f"axis of the labelled fraction is {axis!r}: give 'x', 'y' or 'z'")
        self.fraction = checked_number("label_fraction", fraction, maximum=1.0)
        self.weight_key, self.axis, self.weighting = weight_key, _AXES[axis], weighting

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.fraction == 0.0:
                raise InputError("label_fraction is 0, and this training needs labels: give a number above 0")
            label = plain(d[key])
            length = label.shape[self.axis]
            labelled = max(1, round(self.fraction * length))
            # the part begins where the volume does, so its affine is the volume's
            part = {key: like(label.narrow(self.axis, 0, labelled), d[key])}
            if self.weighting is not None:
                part = self.weighting(part)
            if self.fraction < 1.0:
                part.setdefault(self.weight_key, torch.ones((1, *part[key].shape[1:])))
            d |= {name: like(self._extended(plain(value), length), d[key]) for name, value in part.items()}
        return d

    def _extended(self, values: torch.Tensor, length: int) -> torch.Tensor:
        """`values` (C, Z, Y, X), followed by zeros up to `length` along the axis."""
        missing = list(values.shape)
        missing[self.axis] = length - missing[self.axis]
        return torch.cat([values, values.new_zeros(missing)], dim=self.axis)
