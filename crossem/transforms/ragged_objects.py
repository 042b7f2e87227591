"""Objects too ragged to be any."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import cc3d
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from skimage.measure import label, regionprops

from crossem.checks import checked_number
from crossem.transforms._tensors import like, plain

logger = logging.getLogger(__name__)


class DropRaggedObjectsd(MapTransform):
    """
    Set the connected objects of a class map whose profiles fill too little of their convex hulls to background.

    A profile is what one section shows of an object: its pixels that share an edge. Those of mitochondria are nearly
    convex; those of what a network falsely takes for one in glia and between cells often are not. The mean over an
    object's profiles, by area, decides for all of it, so that one ragged profile does not cut an object in two. Holes
    count as area that is missing. Voxels of one class that share a corner belong to one object, through the sections
    too. Not for cell boundaries, which are one object of all holes; where most of what was found is dropped, the log
    says so.

    Args:
        keys: class maps (1, Z, Y, X).
        min_solidity: the smallest mean of area over area of the convex hull that stays, 0 ... 1; 0 keeps all.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: when the solidity is no number from 0 to 1.
    """

    def __init__(self, keys: KeysCollection, min_solidity: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.min_solidity = checked_number("min_solidity", min_solidity, maximum=1.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.min_solidity:
                labels = plain(d[key])[0].to(torch.uint8).cpu().numpy()
                objects = cc3d.connected_components(labels, connectivity=26)
                kept = np.where((_solidity(objects) < self.min_solidity)[objects], 0, labels)
                self._warn(np.count_nonzero(labels), np.count_nonzero(kept))
                d[key] = like(torch.from_numpy(kept[None]).to(plain(d[key]).dtype), d[key])
        return d

    def _warn(self, found: int, kept: int) -> None:
        if kept < found / 2:
            logger.warning(
                "min_solidity %g drops %.0f %% of the voxels that were found; it is for compact objects that do not "
                "touch: leave it at 0 for others",
                self.min_solidity,
                100 * (1 - kept / found),
            )


def _solidity(objects: np.ndarray) -> np.ndarray:
    """Mean solidity of the profiles of each object, by area; `objects` (Z, Y, X) count from 1, and 0 gets 1."""
    area, filled = np.zeros((2, int(objects.max()) + 1))
    area[0] = filled[0] = 1.0
    for section in objects:
        for profile in regionprops(label(section, connectivity=1)):
            number = section[profile.slice][profile.image][0]
            area[number] += profile.area
            filled[number] += profile.area * profile.solidity
    return filled / area
