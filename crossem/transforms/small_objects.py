"""Objects too small to be any."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cc3d
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from crossem.checks import checked_number
from crossem.io import voxel_size_zyx_nm
from crossem.transforms._tensors import like, plain


class DropSmallObjectsd(MapTransform):
    """
    Set the connected objects of a class map that are smaller than a volume to background.

    Voxels of one class that share a corner belong to one object, through the sections too. (MONAI's
    `RemoveSmallObjectsd` takes the class indices of several classes for objects.)

    Args:
        keys: class maps (1, Z, Y, X) with a voxel size.
        min_object_nm3: the smallest volume that stays, in cubic nanometres; 0 keeps all.
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: when the volume is negative or no number.
    """

    def __init__(self, keys: KeysCollection, min_object_nm3: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.min_object_nm3 = checked_number("min_object_nm3", min_object_nm3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            z, y, x = voxel_size_zyx_nm(d[key])
            voxels = self.min_object_nm3 / (z * y * x)
            if voxels > 1:
                labels = plain(d[key])[0].to(torch.uint8).cpu().numpy()
                kept = torch.from_numpy(cc3d.dust(labels, threshold=voxels, connectivity=26))
                d[key] = like(kept[None].to(plain(d[key]).dtype), d[key])
        return d
