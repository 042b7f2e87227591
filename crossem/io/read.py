"""Reading a volume of any format into the contract: MetaTensor (C, Z, Y, X), affine in nm."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.io import geometry
from crossem.io.formats import Format, format_of, split_location
from crossem.io.header import Location, VolumeHeader
from crossem.io.paths import check_exists, one_line
from crossem.io.region import Region, resolve_region

_T = TypeVar("_T")
_TORCH_DTYPE = {"bool": "uint8", "uint32": "int64", "uint64": "int64", "float16": "float32"}
_SIZE_TOLERANCE = 0.01


def read_header(path: str | Path) -> VolumeHeader:
    """Read a volume's header only: stored shape, type, affine, whether a voxel size is known.

    InputError: nothing there (close names are suggested), unknown extension, damaged file.
    """
    location = split_location(path)
    check_exists(location.file)
    kind = format_of(location)
    return _guarded(kind, location, lambda: kind.module.read_header(location))


def read_volume(
    path: str | Path,
    voxel_size_zyx_nm: Sequence[float] | None = None,
    region_zyx: Region | None = None,
) -> MetaTensor:
    """Read a volume, or a region of it, as a MetaTensor (C, Z, Y, X) with its affine in nm.

    path: a file, a folder of PNG/TIFF slices, `file.h5:/dataset` or `volume.zarr[/group]`.
    voxel_size_zyx_nm: z, y, x; needed when the file has none, wins over the file's (a warning above 1 %).
    region_zyx: [[z0, z1], [y0, y1], [x0, x1]], slice semantics; formats that can read only this part.

    uint8, uint16, int and float types stay; bool becomes uint8, uint32/uint64 int64, float16 float32.
    Raises InputError: a missing, damaged or unknown file, a missing or wrong voxel size, a wrong region.
    """
    location = split_location(path)
    check_exists(location.file)
    kind = format_of(location)
    header = _guarded(kind, location, lambda: kind.module.read_header(location))
    axes = geometry.stored_axes(header.affine)
    to_zyx = [axes.index(axis) for axis in "zyx"]
    shape_zyx = [header.shape[1 + axis] for axis in to_zyx]
    affine = _choose_size(header, header.affine[:, [*to_zyx, 3]], voxel_size_zyx_nm, location)
    pairs = resolve_region(region_zyx, shape_zyx, str(location))
    stored_region = tuple(slice(*pairs["zyx".index(axis)]) for axis in axes)
    data = _guarded(kind, location, lambda: kind.module.read_data(location, stored_region))
    expected = (header.shape[0], *(s.stop - s.start for s in stored_region))
    if data.shape != expected:
        raise InputError(f"{location}: {data.shape} read where {expected} was announced; the file seems damaged")
    data = data.transpose(0, *(1 + axis for axis in to_zyx))
    affine = geometry.shift_origin(affine, [start for start, _ in pairs])
    meta = {
        "file_format": kind.name,
        "file_axes": axes,
        "file_unit": header.unit,
        "region_zyx": np.array(pairs),
    }
    return _to_metatensor(data, affine, meta, path)


def read_voxel_size_zyx_nm(path: str | Path) -> tuple[float, float, float]:
    """The voxel size that a file states, in nm, without reading a voxel.

    Raises InputError: as `read_header`, and when the file states none.
    """
    header = read_header(path)
    axes = geometry.stored_axes(header.affine)
    affine = header.affine[:, [*(axes.index(axis) for axis in "zyx"), 3]]
    return geometry.voxel_size_zyx_nm(_choose_size(header, affine, None, split_location(path)))


def _guarded(kind: Format, location: Location, action: Callable[[], _T]) -> _T:
    """Run a format's code; whatever it raises on a damaged file becomes one readable line."""
    try:
        return action()
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{location}: cannot be read as {kind.name}; the file is empty, truncated or damaged ({one_line(error)})"
        ) from error


def _choose_size(
    header: VolumeHeader, affine: np.ndarray, explicit: Sequence[float] | None, location: Location
) -> np.ndarray:
    """Settle file against explicit voxel size; `affine` already in z, y, x order."""
    if explicit is None:
        if not header.size_known:
            raise InputError(
                f"{location}: the file has no voxel size; give it in nm, for training as"
                ' "voxel_size_zyx_nm": [z, y, x] in the datalist, for inference as --voxel_size_zyx_nm "[z,y,x]"'
            )
        return affine
    explicit = geometry.check_voxel_size(explicit, f"{location}: voxel_size_zyx_nm")
    if header.size_known:
        from_file = geometry.voxel_size_zyx_nm(affine)
        if all(abs(e - f) <= _SIZE_TOLERANCE * f for e, f in zip(explicit, from_file, strict=True)):
            return affine
        warnings.warn(
            f"{location}: the file says a voxel of {_short(from_file)} nm (z, y, x),"
            f" {_short(explicit)} was given and is used",
            stacklevel=3,
        )
    return geometry.with_voxel_size(affine, explicit)


def _short(sizes: Sequence[float]) -> str:
    return "(" + ", ".join(f"{size:g}" for size in sizes) + ")"


def _to_metatensor(data: np.ndarray, affine: np.ndarray, meta: dict[str, object], path: str | Path) -> MetaTensor:
    native = data.dtype.newbyteorder("=")
    if native.kind not in "biuf" or native.itemsize > 8:
        raise InputError(f"{path}: voxels of type {native} are not supported; convert to an 8- or 16-bit grey volume")
    if native == np.uint64 and data.size and data.max() > np.iinfo(np.int64).max:
        raise InputError(f"{path}: uint64 values above 2**63 are not supported; relabel to smaller numbers")
    target = np.dtype(_TORCH_DTYPE.get(native.name, native))
    array = np.array(data, dtype=target, order="C")  # a copy: the source may be a read-only memory map
    affine_nm = torch.from_numpy(np.ascontiguousarray(affine, dtype=np.float64))
    # Every key is a string, number or array, the same keys for each format: batches of them collate.
    meta = {
        **meta,
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        "spatial_shape": np.array(array.shape[1:]),
        "original_affine": affine_nm.clone(),
        "space": "RAS",
    }
    return MetaTensor(torch.from_numpy(array), affine=affine_nm, meta=meta)
