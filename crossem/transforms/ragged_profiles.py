"""Profiles too ragged to be of an object."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from skimage.measure import label, regionprops

from crossem.checks import checked_number
from crossem.transforms._tensors import like, plain


class DropRaggedProfilesd(MapTransform):
    """
    Set the profiles of a class map that fill too little of their convex hull to background.

    A profile is what one section shows of an object: the pixels of one class that share an edge. Those of mitochondria
    are nearly convex; what a network falsely takes for one in glia and between cells often is not. Holes count as area
    that is missing. Not for cell boundaries, which are one profile of all holes.

    Args:
        keys: class maps (1, Z, Y, X).
        min_solidity: the smallest area over area of the convex hull that stays, 0 ... 1; 0 keeps all.
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
                kept = np.stack([_without_ragged(section, self.min_solidity) for section in labels])
                d[key] = like(torch.from_numpy(kept[None]).to(plain(d[key]).dtype), d[key])
        return d


def _without_ragged(section: np.ndarray, min_solidity: float) -> np.ndarray:
    """The class map (Y, X) of a section without its ragged profiles."""
    kept = section.copy()
    for profile in regionprops(label(section, connectivity=1)):
        if profile.solidity < min_solidity:
            kept[profile.slice][profile.image] = 0
    return kept
