"""MRC2014 (.mrc, .rec, .map) with mrcfile.

Cell sizes are Angstrom; a cell of 0, or of exactly 1 A a voxel (what programs write when they know nothing),
counts as no voxel size. Mode 0 is signed unless the IMOD stamp, or a maximum above 127, says unsigned;
uint8 is written with that stamp. There are no directions: voxel size, origin and axis order are kept.
"""

import warnings

import mrcfile
import numpy as np

from crossem.errors import InputError
from crossem.io.geometry import is_placeholder, plain_affine, stored_axes, voxel_size_zyx_nm
from crossem.io.header import Location, VolumeHeader
from crossem.io.units import from_nm, nm_per_unit, to_nm

DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
MAX_CHANNELS = 1
KEEPS_AXIS_ORDER = True
KEEPS_DIRECTIONS = False
_ANGSTROM = nm_per_unit("angstrom")
_IMOD_STAMP = np.int32(1146047817)
_IMOD_FIELD = slice(40, 48)  # of header.extra2: imodStamp and imodFlags; bit 0 of the flags: bytes are signed


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    with _open(location) as mrc:
        head = mrc.header
        if mrc.data is None or mrc.data.ndim not in (2, 3):
            raise InputError(f"{location}: MRC of shape {getattr(mrc.data, 'shape', None)}; one 3D volume is expected")
        shape = (1,) * (3 - mrc.data.ndim) + mrc.data.shape
        sizes = [_cell_size(head.cella[axis], head[f"m{axis}"]) for axis in "zyx"]
        unit_cell = all(size == 1 for size in sizes)
        affine = plain_affine(None)
        affine[[2, 1, 0], [0, 1, 2]] = to_nm(np.array(sizes), _ANGSTROM)
        affine[:3, 3] = to_nm(np.array([head.origin[axis] for axis in "xyz"]), _ANGSTROM)
        known = not is_placeholder(affine) and not unit_cell
        if not known:
            affine = plain_affine(None)
        order = ["xyz"[int(head[name]) - 1] for name in ("maps", "mapr", "mapc")]
        order = order if sorted(order) == ["x", "y", "z"] else ["z", "y", "x"]
        affine = affine[:, [*("zyx".index(axis) for axis in order), 3]]
        dtype = np.dtype(np.uint8) if _is_unsigned(mrc) else mrc.data.dtype.newbyteorder("=")
        return VolumeHeader((1, *shape), dtype, affine, known)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; reads the region only (memory map)."""
    with _open(location) as mrc:
        data = mrc.data if mrc.data.ndim == 3 else mrc.data[None]
        data = np.array(data[region])
        return (data.view(np.uint8) if _is_unsigned(mrc) else data)[None]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    order = stored_axes(affine)
    to_zyx = [order.index(axis) for axis in "zyx"]
    sizes = from_nm(np.array(voxel_size_zyx_nm(affine[:, [*to_zyx, 3]])), _ANGSTROM)
    stored = np.ascontiguousarray(data[0])
    with mrcfile.new(location.file) as mrc:
        mrc.set_data(stored.view(np.int8) if stored.dtype == np.uint8 else stored)
        if stored.dtype == np.uint8:
            extra = bytearray(mrc.header.extra2.tobytes())
            extra[_IMOD_FIELD] = np.array([_IMOD_STAMP, 0], dtype=np.int32).tobytes()
            mrc.header.extra2 = np.void(bytes(extra))
            # mrcfile's statistics are of the signed view; itk tells signed from unsigned by dmin
            mrc.header.dmin, mrc.header.dmax = stored.min(), stored.max()
            mrc.header.dmean, mrc.header.rms = stored.mean(), stored.std()
        for name, axis in zip(("maps", "mapr", "mapc"), order, strict=True):
            mrc.header[name] = "xyz".index(axis) + 1
        mrc.header.ispg, mrc.header.mz = 1, stored.shape[0]
        for axis, size in zip("zyx", sizes, strict=True):
            mrc.header[f"m{axis}"] = stored.shape[order.index(axis)]
            mrc.header.cella[axis] = size * stored.shape[order.index(axis)]
        for axis, value in zip("xyz", from_nm(affine[:3, 3], _ANGSTROM), strict=True):
            mrc.header.origin[axis] = value


def _open(location: Location) -> mrcfile.mrcfile.MrcFile:
    with warnings.catch_warnings():  # permissive mode warns about things that do not matter here
        warnings.simplefilter("ignore")
        mrc = mrcfile.mmap(location.file, mode="r", permissive=True)
    if mrc.data is None:
        mrc.close()
        raise InputError(f"{location}: no MRC data; the file is truncated or of an unknown mode")
    return mrc


def _cell_size(cell: np.float32, samples: np.int32) -> float:
    """Angstrom a voxel: the 7-digit decimal if it gives back the stored float32 cell."""
    if samples <= 0 or not np.isfinite(cell):
        return 0.0
    exact = float(cell) / int(samples)
    short = float(f"{exact:.7g}")
    return short if np.float32(short * int(samples)) == np.float32(cell) else exact


def _is_unsigned(mrc: mrcfile.mrcfile.MrcFile) -> bool:
    if mrc.data.dtype != np.int8:
        return False
    field = mrc.header.extra2.tobytes()[_IMOD_FIELD]
    stamp, flags = np.frombuffer(field, dtype=np.dtype(np.int32).newbyteorder(mrc.header.nx.dtype.byteorder))
    if stamp == _IMOD_STAMP:
        return not flags & 1
    return float(mrc.header.dmax) > np.iinfo(np.int8).max  # statistics that signed bytes cannot have
