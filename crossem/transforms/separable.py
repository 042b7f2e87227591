"""Linear filters along one axis, as small matrices: exact, short, and fast because BLAS does the work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

_SLAB_VOXELS = 1 << 20  # float32 copies are made in pieces of about this many voxels, which stay in the cache
_BAND_ROWS = 64  # the matrices are banded: this many output rows share one range of input columns


def area_matrix(n_in: int, n_out: int) -> torch.Tensor:
    """(n_out, n_in) float32 matrix averaging over the exact, fractional overlap of cells on one extent."""
    edges_in = np.arange(n_in + 1) * (n_out / n_in)
    low, high = (
        np.maximum.outer(np.arange(n_out), edges_in[:-1]),
        np.minimum.outer(np.arange(1, n_out + 1), edges_in[1:]),
    )
    overlap = np.clip(high - low, 0.0, None)
    overlap[overlap < 1e-9] = 0.0  # rounding of the edges, not overlap
    return torch.from_numpy((overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32))


def linear_matrix(n_in: int, n_out: int) -> torch.Tensor:
    """(n_out, n_in) float32 matrix interpolating linearly between cell centres on one extent."""
    centres = np.clip((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0.0, n_in - 1.0)
    left = np.minimum(np.floor(centres).astype(np.int64), max(n_in - 2, 0))
    fraction = centres - left
    matrix = np.zeros((n_out, n_in))
    rows = np.arange(n_out)
    matrix[rows, left] = 1.0 - fraction
    matrix[rows, np.minimum(left + 1, n_in - 1)] += fraction
    return torch.from_numpy(matrix.astype(np.float32))


def gaussian_matrix(n: int, sigma_px: float) -> torch.Tensor:
    """(n, n) float32 matrix of scipy's `gaussian_filter1d` (edges reflected, cut at 4 sigma)."""
    return torch.from_numpy(gaussian_filter1d(np.eye(n, dtype=np.float32), sigma_px, axis=0, mode="reflect"))


def apply_along_axis(
    volume: torch.Tensor, matrix: torch.Tensor, axis: int, out: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Multiply one axis of a volume by a matrix.

    Args:
        volume: (Z, Y, X), any real dtype; converted to float32 slab by slab, never as a whole.
        matrix: (n_out, n_in) float32, n_in being the volume's length along `axis`.
        axis: 0, 1 or 2 for z, y, x.
        out: where the result goes; by default a new tensor.

    Returns:
        float32 volume whose length along `axis` is n_out.
    """
    shape = list(volume.shape)
    shape[axis] = matrix.shape[0]
    if out is None:
        out = torch.empty(shape, dtype=torch.float32, device=volume.device)
    bands = list(_bands(matrix.to(volume.device)))
    slab_axis = 1 if axis == 0 else 0
    for start, stop in _slabs(out if out.numel() > volume.numel() else volume, slab_axis):
        source = volume.narrow(slab_axis, start, stop - start).float()
        target = out.narrow(slab_axis, start, stop - start)
        for first_row, columns, block in bands:
            part = source.narrow(axis, columns.start, columns.stop - columns.start)
            rows = target.narrow(axis, first_row, block.shape[0])
            rows.copy_(part @ block.T if axis == 2 else _multiply_rows(block, part, axis))
    return out


def _multiply_rows(block: torch.Tensor, part: torch.Tensor, axis: int) -> torch.Tensor:
    if axis == 1:
        return block @ part
    return (block @ part.reshape(part.shape[0], -1)).view(-1, *part.shape[1:])


def _bands(matrix: torch.Tensor) -> Iterator[tuple[int, slice, torch.Tensor]]:
    """Blocks of rows with the range of columns that is not all zero in them."""
    for first_row in range(0, matrix.shape[0], _BAND_ROWS):
        rows = matrix[first_row : first_row + _BAND_ROWS]
        used = rows.ne(0).any(dim=0).nonzero()
        low, high = int(used[0]), int(used[-1]) + 1
        yield first_row, slice(low, high), rows[:, low:high].contiguous()


def _slabs(volume: torch.Tensor, axis: int) -> Iterator[tuple[int, int]]:
    length = volume.shape[axis]
    step = max(1, _SLAB_VOXELS * length // max(1, volume.numel()))
    for start in range(0, length, step):
        yield start, min(start + step, length)
