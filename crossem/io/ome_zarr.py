"""OME-Zarr (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3) with zarr: level 0 of `volume.zarr[/group]`, or a plain Zarr
array.

Axis names, units and scale come from `multiscales`; a scale without a unit counts as no voxel size. Written
as NGFF 0.4, which most viewers open, one level, axes (c,) z, y, x in nanometer.
"""

import numpy as np
import zarr

from crossem.errors import InputError
from crossem.io.geometry import is_placeholder, plain_affine, voxel_size_zyx_nm
from crossem.io.header import Location, VolumeHeader
from crossem.io.units import nm_per_unit, to_nm

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MAX_CHANNELS = 1 << 16
KEEPS_AXIS_ORDER = False
KEEPS_DIRECTIONS = False
_CHUNK_ZYX = (64, 128, 128)
_BLOSC_HEADER_BYTES = 16


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    array, axes, multiscale = _open(location)
    sizes = dict(zip(axes, array.shape, strict=True))
    spatial = [axis for axis in axes if axis in "zyx"]
    affine, known = _affine(axes, multiscale)
    order = [*("zyx".index(axis) for axis in spatial), 3]
    shape = (sizes.get("c", 1), *(sizes[axis] for axis in spatial))
    return VolumeHeader(shape, np.dtype(array.dtype).newbyteorder("="), affine[:, order], known)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; reads the chunks of the region only."""
    array, axes, _ = _open(location)
    _check_blosc_chunks(array, location)
    spatial = iter(region)
    index = tuple(next(spatial) if axis in "zyx" else slice(None) if axis == "c" else 0 for axis in axes)
    data = np.asarray(array[index])
    return np.moveaxis(data, axes.replace("t", "").index("c"), 0) if "c" in axes else data[None]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    if location.inner:
        raise InputError(f"{location}: write a whole .zarr folder, not a part of one")
    array = data[0] if data.shape[0] == 1 else data
    lead = array.ndim - 3
    group = zarr.open_group(str(location.file), mode="w", zarr_format=2)
    chunks = (1,) * lead + tuple(min(c, s) for c, s in zip(_CHUNK_ZYX, array.shape[lead:], strict=True))
    level = group.create_array(
        "0",
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    level[...] = array
    axes = [{"name": "c", "type": "channel"}] * lead
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    transforms = [
        {"type": "scale", "scale": [1.0] * lead + list(voxel_size_zyx_nm(affine))},
        {"type": "translation", "translation": [0.0] * lead + affine[2::-1, 3].tolist()},
    ]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    name = location.file.name
    group.attrs["multiscales"] = [{"version": "0.4", "name": name, "axes": axes, "datasets": datasets}]


def _open(location: Location) -> tuple[zarr.Array, str, dict]:
    """Return (level 0, axis names such as "czyx", its multiscale entry or {})."""
    node = zarr.open(str(location.file), mode="r", path=location.inner or None)
    multiscale: dict = {}
    if isinstance(node, zarr.Group):
        attributes = dict(node.attrs)
        entries = attributes.get("ome", attributes).get("multiscales")
        if entries:
            multiscale = entries[0]
            node = node[multiscale["datasets"][0]["path"]]
        else:
            node = _only_array(node, location)
    default = {3: "zyx", 4: "czyx", 5: "tczyx"}.get(node.ndim, "?" * node.ndim)
    names = [a["name"] if isinstance(a, dict) else a for a in multiscale.get("axes", default)]
    axes = "".join(names)
    lengths = dict(zip(axes, node.shape, strict=False))
    if not set("zyx") <= set(axes) <= set("tczyx") or len(axes) != node.ndim or lengths.get("t", 1) != 1:
        raise InputError(f"{location}: axes {axes!r} of shape {node.shape}; one 3D volume ((c,) z, y, x) is expected")
    return node, axes, multiscale


def _check_blosc_chunks(array: zarr.Array, location: Location) -> None:
    """The Blosc decoder turns a truncated chunk into noise without an error; its header says its length."""
    if array.shards is not None or not any("blosc" in type(c).__name__.lower() for c in array.compressors):
        return
    for file in (location.file / array.path).rglob("*"):
        if not file.is_file() or file.name.startswith(".") or file.name == "zarr.json":
            continue
        with open(file, "rb") as chunk:
            header = chunk.read(_BLOSC_HEADER_BYTES)
        if int.from_bytes(header[12:16], "little") != file.stat().st_size:
            raise InputError(f"{file}: this chunk of the Zarr array is truncated or damaged; get it again")


def _only_array(group: zarr.Group, location: Location) -> zarr.Array:
    arrays = {name: a for name, a in group.members(max_depth=None) if isinstance(a, zarr.Array) and a.ndim in (3, 4)}
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    names = " ".join(sorted(arrays)) or "none"
    raise InputError(
        f"{location}: not an OME-Zarr image; name an array or group in it, {location.file.name}/NAME: {names}"
    )


def _affine(axes: str, multiscale: dict) -> tuple[np.ndarray, bool]:
    """Return the affine of (z, y, x) and whether its size is known."""
    steps, offset = np.ones(len(axes)), np.zeros(len(axes))
    stated = False
    dataset = multiscale["datasets"][0] if multiscale else {}
    for transform in [
        *dataset.get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]:
        if transform["type"] == "scale":
            steps, offset, stated = steps * transform["scale"], offset * transform["scale"], True
        elif transform["type"] == "translation":
            offset = offset + transform["translation"]
    units = {a["name"]: a.get("unit") for a in multiscale.get("axes", []) if isinstance(a, dict)}
    factors = [nm_per_unit(units.get(axis)) for axis in "zyx"]
    if not stated or None in factors:
        return plain_affine(None), False
    at = [axes.index(axis) for axis in "zyx"]
    sizes = np.array([to_nm(steps[k], f) for k, f in zip(at, factors, strict=True)])
    affine = plain_affine(None)
    affine[[2, 1, 0], [0, 1, 2]] = sizes
    affine[[2, 1, 0], 3] = [to_nm(offset[k], f) for k, f in zip(at, factors, strict=True)]
    return (affine, True) if not is_placeholder(affine) else (plain_affine(None), False)
