"""HDF5, `file.h5:/dataset`, with h5py: 3D as (Z, Y, X), 4D as (C, Z, Y, X).

The voxel size is the dataset's attribute `element_size_um` (z, y, x; micrometres). crossem also writes
`affine_zyx_to_xyz_nm`, which keeps origin and directions, and reads it back while both agree.
"""

import io

import h5py
import numpy as np

from crossem.errors import InputError
from crossem.io.geometry import is_placeholder, plain_affine, voxel_size_zyx_nm
from crossem.io.header import Location, VolumeHeader
from crossem.io.units import from_nm, nm_per_unit, to_nm

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MAX_CHANNELS = 1 << 16
KEEPS_AXIS_ORDER = False
KEEPS_DIRECTIONS = True
DEFAULT_DATASET = "data"
_SIZE, _AFFINE = "element_size_um", "affine_zyx_to_xyz_nm"
_MICRON = nm_per_unit("um")


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`; without a dataset name the only 3D or 4D dataset is taken."""
    with h5py.File(location.file, "r") as file:
        dataset = _find(file, location)
        shape = (1,) * (4 - dataset.ndim) + dataset.shape
        affine, known = _affine(dataset)
        return VolumeHeader(shape, dataset.dtype.newbyteorder("="), affine, known)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; reads the region only."""
    with h5py.File(location.file, "r") as file:
        dataset = _find(file, location)
        return dataset[region][None] if dataset.ndim == 3 else dataset[(slice(None), *region)]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`; one channel is written 3D. Other datasets of an existing file stay."""
    name = location.inner or DEFAULT_DATASET
    exists = location.file.exists()
    with _Sink(location.file, "r+b" if exists else "w+b") as sink:
        with h5py.File(sink, "r+" if exists else "w") as file:
            _put(file, name, data, affine)
        if sink.error is not None:
            raise sink.error


def _put(file: h5py.File, name: str, data: np.ndarray, affine: np.ndarray) -> None:
    if isinstance(file.get(name), h5py.Group):
        raise InputError(f"{name}: is a group of this HDF5 file; choose another dataset name")
    if name in file:
        del file[name]
    array = data[0] if data.shape[0] == 1 else data
    dataset = file.create_dataset(name, data=array, chunks=True, compression="gzip", compression_opts=1)
    dataset.attrs[_SIZE] = from_nm(np.array(voxel_size_zyx_nm(affine)), _MICRON)
    dataset.attrs[_AFFINE] = affine


class _Sink(io.FileIO):
    """A file that keeps its first write error instead of raising it.

    The HDF5 library crashes the process later if it cannot flush a file on a full disk, so it never knows.
    """

    error: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write all, or note why not."""
        left = memoryview(data).cast("B")
        try:
            while self.error is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or note why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _affine(dataset: h5py.Dataset) -> tuple[np.ndarray, bool]:
    sizes_um = np.asarray(dataset.attrs.get(_SIZE, ()))
    if sizes_um.shape != (3,) or sizes_um.dtype.kind not in "fiu":
        return plain_affine(None), False
    sizes = np.abs(to_nm(sizes_um.astype(np.float64) if sizes_um.dtype.kind != "f" else sizes_um, _MICRON))
    if not (np.isfinite(sizes).all() and (sizes > 0).all()) or is_placeholder(np.diag([*sizes, 1.0])):
        return plain_affine(None), False
    stored = np.asarray(dataset.attrs.get(_AFFINE, ()))
    if stored.shape == (4, 4) and np.allclose(voxel_size_zyx_nm(stored), sizes, rtol=1e-6):
        return stored.astype(np.float64), True
    return plain_affine(sizes), True


def _find(file: h5py.File, location: Location) -> h5py.Dataset:
    volumes: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4):
            volumes[name] = item

    file.visititems(collect)
    if location.inner in volumes:
        return volumes[location.inner]
    names = " ".join(f"/{name} {item.shape}" for name, item in volumes.items()) or "none"
    if location.inner:
        raise InputError(f"{location}: no such 3D or 4D dataset; the file has {names}")
    if len(volumes) != 1:
        raise InputError(f"{location}: name the dataset, {location.file.name}:/NAME; 3D and 4D datasets there: {names}")
    return next(iter(volumes.values()))
