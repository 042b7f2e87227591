"""Intensity normalisation, slice by slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.transforms._tensors import like, plain

INTENSITY_LIMIT = 4.0  # a normalised slice is within -4 ... 4
_PERCENTILE_PIXELS = 1 << 16  # percentiles come from a regular subgrid of about this many pixels


def normalize_slices(
    volume: torch.Tensor, percentiles: Sequence[float] = (1.0, 99.0), limit: float = INTENSITY_LIMIT
) -> torch.Tensor:
    """
    Give every z slice mean 0 and standard deviation 1, taken over intensities clipped to two percentiles.

    The result does not change under v -> a_z v + b_z with a_z > 0 in each slice, which is how brightness and
    contrast vary between sections and between microscopes. Clipped moments, not median and interquartile
    range: the quartiles of an 8-bit section of low contrast are a few grey levels apart, so rounding alone
    would change the scale by 10 %; the percentiles only keep dust and charging out of the moments. Tissue
    stays within about 3 standard deviations, so `limit` = 4 cuts artefacts only, and no artefact can dominate
    a network's input. A slice without contrast (missing, padded) becomes 0. Values that are not finite become
    the mean of the slice's others.

    Args:
        volume: (C, Z, Y, X), any real dtype.
        percentiles: clipping percentiles of the moments, 0 to 100.
        limit: the result is clipped to [-limit, limit].

    Returns:
        (C, Z, Y, X) float32, finite.
    """
    out = torch.empty(volume.shape, dtype=torch.float32, device=volume.device)
    for channel_in, channel_out in zip(volume, out, strict=True):
        for slice_in, slice_out in zip(channel_in, channel_out, strict=True):
            _normalize_slice(slice_in.float(), slice_out, percentiles, limit)
    return out


class NormalizeSlicesd(MapTransform):
    """
    Normalise the intensities of every slice; see `normalize_slices`. For whole volumes, before cropping.

    Args:
        keys: volumes (C, Z, Y, X).
        percentiles: the slice's intensities are clipped to these for its mean and standard deviation.
        limit: the result is clipped to [-limit, limit].
        allow_missing_keys: skip keys that are not there.

    Raises:
        InputError: percentiles not 0 <= low < high <= 100, or a limit not above 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        percentiles: Sequence[float] = (1.0, 99.0),
        limit: float = INTENSITY_LIMIT,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(percentiles) != 2 or not 0.0 <= percentiles[0] < percentiles[1] <= 100.0:
            raise InputError(f"percentiles is {list(percentiles)}: give [low, high] with 0 <= low < high <= 100")
        self.percentiles = tuple(percentiles)
        self.limit = checked_number("limit", limit, minimum=1e-3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(normalize_slices(plain(d[key]), self.percentiles, self.limit), d[key])
        return d


def _normalize_slice(values: torch.Tensor, out: torch.Tensor, percentiles: Sequence[float], limit: float) -> None:
    if not bool(torch.isfinite(values.sum())):
        finite = torch.isfinite(values)
        known = values[finite]
        mean = known.mean() if known.numel() else values.new_zeros(())
        values = torch.where(finite, values, mean)
    low, high = _percentiles(values, percentiles)
    # a spread at the rounding error of the values is no contrast
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        out.zero_()
        return
    torch.sub(values, 0.5 * (low + high), out=out)  # centred first: float32 keeps its digits for the moments
    half_range = 0.5 * (high - low)
    clipped = out.clamp(-half_range, half_range).flatten()
    mean = clipped.mean()
    std = (torch.dot(clipped, clipped) / clipped.numel() - mean**2).sqrt()  # std_mean takes 20 times as long
    out.sub_(mean).div_(std).clamp_(-limit, limit)


def _percentiles(values: torch.Tensor, percentiles: Sequence[float]) -> tuple[float, float]:
    step = max(1, int((values.numel() / _PERCENTILE_PIXELS) ** 0.5))
    sample = values[::step, ::step].flatten()
    ranks = [1 + round(p / 100.0 * (sample.numel() - 1)) for p in percentiles]
    return tuple(float(sample.kthvalue(rank).values) for rank in ranks)
