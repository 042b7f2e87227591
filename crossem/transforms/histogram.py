"""Histogram matching: the grey values of one domain distributed as those of another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from skimage.exposure import match_histograms

from crossem.errors import InputError
from crossem.transforms._tensors import like, plain


class MatchHistogramd(MapTransform):
    """
    Give a volume the histogram of the reference volumes together, by a monotone curve.

    Volumes and references have gone through the same preprocessing before, so what is left to match is the form of
    the histograms.

    Args:
        keys: volumes (C, Z, Y, X).
        references: datalist items; they are loaded when this is built.
        preprocessing: from an item to a volume under the first of the keys.

    Raises:
        InputError: when there are no references.
    """

    def __init__(self, keys: KeysCollection, references: Sequence[Mapping[str, Any]], preprocessing: Callable) -> None:
        super().__init__(keys)
        if not references:
            raise InputError("histogram matching has no reference volumes: give at least one item of the target")
        values = [plain(preprocessing(dict(item))[self.keys[0]]).flatten() for item in references]
        self.reference = torch.cat(values).numpy()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = plain(d[key])
            matched = match_histograms(volume.flatten().numpy(), self.reference).astype(np.float32)
            d[key] = like(torch.from_numpy(matched).view(volume.shape), d[key])
        return d
