"""Translation of whole volumes to another domain's style, slice by slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.inferers import sliding_window_inference
from monai.transforms import MapTransform
from torch import Tensor, nn

from crossem.transforms._tensors import like, plain

_WINDOW = 512  # pixels; larger slices are translated in windows of it, blended where they overlap


@torch.no_grad()
def translate_slices(volume: Tensor, generator: nn.Module) -> Tensor:
    """
    Apply a generator to every z slice.

    Slices above 512 pixels go through it in overlapping windows, so that the memory needed does not grow with them.

    Args:
        volume: (1, Z, Y, X), normalised per slice.
        generator: maps (N, 1, Y, X) of any size to the same shape, such as `crossem.networks.SliceGenerator`.

    Returns:
        (1, Z, Y, X) float32 on the volume's device.
    """
    device = next(generator.parameters()).device
    window = [min(n, _WINDOW) for n in volume.shape[2:]]
    translated = []
    for slice_in in volume[0]:
        x = slice_in.float().to(device)[None, None]
        y = sliding_window_inference(x, window, 1, generator, overlap=0.25, mode="gaussian")
        translated.append(y[0, 0].float().to(volume.device))
    return torch.stack(translated)[None]


class TranslateSlicesd(MapTransform):
    """
    Translate every slice of volumes to another domain's style; see `translate_slices`.

    Deterministic preprocessing for whole volumes that are normalised, before cropping. What is where does not
    move, so labels stay as they are.

    Args:
        keys: volumes (1, Z, Y, X).
        generator: its weights at the time of the call are used.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(self, keys: KeysCollection, generator: nn.Module, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.generator = generator

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(translate_slices(plain(d[key]), self.generator), d[key])
        return d
