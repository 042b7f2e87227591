"""Random defects of serial sections: missing ones and shifted ones.

Volumes are (C, Z, Y, X). Inputs are never changed in place, and all randomness comes from `self.R`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.transforms._tensors import common_shape_zyx, like, plain


class RandDropSlicesd(RandomizableTransform, MapTransform):
    """
    Lose some sections: a blank slice, or a copy of a neighbour as alignment software fills gaps.

    Labels stay: the network has to fill in what it does not see.

    Args:
        keys: images; the same slices are lost in all of them.
        prob: probability of the transform.
        max_slices: 1 to this many slices, always leaving one.
        repeat_prob: probability that a lost slice is a copy of a neighbour and not blank.
        fill: intensity of a blank slice; 0 is what `NormalizeSlicesd` makes of one.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: for max_slices below 1 or a probability outside [0, 1].
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.2,
        max_slices: int = 1,
        repeat_prob: float = 0.5,
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))
        if max_slices < 1:
            raise InputError(f"max_slices is {max_slices}: give at least 1, or prob 0 to lose no slice")
        self.max_slices, self.fill = max_slices, float(fill)
        self.repeat_prob = checked_number("repeat_prob", repeat_prob, maximum=1.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        keys = list(self.key_iterator(d))
        if not self._do_transform or not keys:
            return d
        sources = self._draw(common_shape_zyx(d, keys)[0])
        for key in keys:
            image = plain(d[key])
            lossy = image.clone()
            for z, source in sources.items():
                lossy[:, z] = self.fill if source is None else image[:, source]
            d[key] = like(lossy, d[key])
        return d

    def _draw(self, slices: int) -> dict[int, int | None]:
        """Lost slice -> the neighbour to copy, or None for a blank one."""
        most = min(self.max_slices, slices - 1)
        if most < 1:
            return {}
        lost = self.R.choice(slices, size=self.R.randint(1, most + 1), replace=False)
        sources = {}
        for z in lost.tolist():
            neighbour = z + 1 if z == 0 or (z + 1 < slices and self.R.rand() < 0.5) else z - 1
            sources[z] = neighbour if self.R.rand() < self.repeat_prob else None
        return sources


class RandShiftSlicesd(RandomizableTransform, MapTransform):
    """
    Misalign sections by whole pixels in y and x: one slice, or one and all after it. Edges repeat.

    Image, label and weight move together and keep their dtypes, so the label stays exact.

    Args:
        keys: images, labels and weights of one grid.
        prob: probability of the transform.
        max_shift_px: the largest shift along y and x.
        max_slices: 1 to this many misaligned slices.
        step_prob: probability that all slices after a misaligned one move with it.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: for max_shift_px or max_slices below 1, or a probability outside [0, 1].
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.3,
        max_shift_px: int = 4,
        max_slices: int = 2,
        step_prob: float = 0.3,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, checked_number("prob", prob, maximum=1.0))
        if max_shift_px < 1 or max_slices < 1:
            raise InputError(f"max_shift_px is {max_shift_px} and max_slices {max_slices}: give at least 1 of each")
        self.max_shift_px, self.max_slices = max_shift_px, max_slices
        self.step_prob = checked_number("step_prob", step_prob, maximum=1.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        keys = list(self.key_iterator(d))
        if not self._do_transform or not keys:
            return d
        shape_zyx = common_shape_zyx(d, keys)
        shifts = self._draw(shape_zyx[0])
        for key in keys:
            d[key] = like(shift_slices(plain(d[key]), shifts), d[key])
        return d

    def _draw(self, slices: int) -> np.ndarray:
        """(Z, 2) integer shifts of each slice along y and x."""
        shifts = np.zeros((slices, 2), dtype=np.int64)
        count = self.R.randint(1, min(self.max_slices, slices) + 1)
        for z in self.R.choice(slices, size=count, replace=False):
            moved = slice(z, None) if self.R.rand() < self.step_prob else slice(z, z + 1)
            shifts[moved] += self.R.randint(-self.max_shift_px, self.max_shift_px + 1, size=2)
        return shifts


def shift_slices(volume: torch.Tensor, shifts_yx_px: np.ndarray) -> torch.Tensor:
    """
    Move each slice of (C, Z, Y, X) by whole pixels, out[y, x] = in[y - dy, x - dx], repeating edge pixels.

    Args:
        volume: any dtype.
        shifts_yx_px: (Z, 2) integers.

    Returns:
        A new volume of the same shape and dtype.
    """
    out = volume.clone()
    height, width = volume.shape[2:]
    for z, (dy, dx) in enumerate(np.asarray(shifts_yx_px).tolist()):
        if dy or dx:
            rows = (torch.arange(height, device=volume.device) - dy).clamp_(0, height - 1)
            columns = (torch.arange(width, device=volume.device) - dx).clamp_(0, width - 1)
            out[:, z] = volume[:, z].index_select(1, rows).index_select(2, columns)
    return out
