"""What every format module tells about a volume, and the protocol that it follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Location:
    """Where a volume lies: a file or folder on disk, and a path inside it (HDF5 dataset, Zarr group)."""

    file: Path
    inner: str = ""

    def __str__(self) -> str:
        return f"{self.file}:/{self.inner}" if self.inner else str(self.file)


@dataclass(frozen=True)
class VolumeHeader:
    """The facts of a stored volume, in the order of the file (slowest axis first).

    shape: (C, s0, s1, s2); s0 is the slowest stored spatial axis.
    dtype: type of the array that `read_data` returns, native byte order.
    affine: 4x4, maps the stored index (s0, s1, s2) to physical (x, y, z); in nm when `size_known`, otherwise
        in steps of unknown length (directions are still meant).
    size_known: whether the file states a voxel size with its unit.
    unit: the length unit the file is written in, so that it can be written again; "" if the format has one
    only.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    size_known: bool
    unit: str = ""


class FormatModule(Protocol):
    """One file format; each module in this package named in `crossem.io.formats` has these."""

    DTYPES: tuple[str, ...]
    """numpy types that can be written."""
    MAX_CHANNELS: int
    """1, or many when the format says which axis is the channel."""
    KEEPS_AXIS_ORDER: bool
    """Whether axes may be stored in another order than z, y, x."""
    KEEPS_DIRECTIONS: bool
    """Whether flips and rotations can be stored."""

    def read_header(self, location: Location) -> VolumeHeader:
        """Read no voxel."""

    def read_data(self, location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
        """Return (C, s0, s1, s2), only the region (slices with plain bounds, stored axes)."""

    def write(self, location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
        """Write (C, s0, s1, s2); `affine` as in `VolumeHeader`, nm."""
