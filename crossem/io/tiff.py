"""TIFF, OME-TIFF and ImageJ TIFF with tifffile.

A voxel size comes from OME-XML (PhysicalSizeX/Y/Z and units) or ImageJ's metadata (`spacing`, `unit` and the
resolution tags); resolution tags alone say nothing of z and count as none. Written: `.ome.tif` as OME-TIFF,
`.tif` as an ImageJ hyperstack with unit nm where ImageJ has the type and the size (under 4 GB), else with
OME-XML.
"""

import hashlib
import struct
import uuid
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import tifffile

from crossem.errors import InputError
from crossem.io.geometry import plain_affine, voxel_size_zyx_nm
from crossem.io.grey import grey_from_samples
from crossem.io.header import Location, VolumeHeader
from crossem.io.units import nm_per_unit, to_nm

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
MAX_CHANNELS = 1 << 16
KEEPS_AXIS_ORDER = False
KEEPS_DIRECTIONS = False
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_IMAGEJ_MAX_BYTES = 2**32 - 2**25
_MAX_RATIONAL = 2**31 - 1


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    with tifffile.TiffFile(location.file) as tif:
        check_complete(tif, location)
        layout = _layout(tif, location)
        sizes = _voxel_size(tif)
        dtype = np.dtype(tif.series[0].dtype).newbyteorder("=")
        return VolumeHeader(layout.shape_czyx, dtype, plain_affine(sizes), sizes is not None)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; uncompressed stacks are memory mapped, others decoded page by page, region only."""
    z, y, x = region
    with tifffile.TiffFile(location.file) as tif:
        layout = _layout(tif, location)
        series = tif.series[0]
        if series.dataoffset is not None:
            dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
            data = np.memmap(location.file, dtype, "r", series.dataoffset, series.shape)
            return _to_czyx(data, layout, location)[:, z, y, x]
        pages_czyx = layout.page_numbers(len(series.pages))
        if pages_czyx is None:
            return _to_czyx(series.asarray(), layout, location)[:, z, y, x]
        wanted = pages_czyx[:, z]
        data = tif.asarray(key=wanted.ravel().tolist(), series=0)
        return data.reshape(*wanted.shape, *layout.shape_czyx[2:])[:, :, y, x]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    vz, vy, vx = voxel_size_zyx_nm(affine)
    is_ome = location.file.name.lower().endswith((".ome.tif", ".ome.tiff"))
    if not is_ome and data.dtype.name in _IMAGEJ_DTYPES and data.nbytes < _IMAGEJ_MAX_BYTES:
        tifffile.imwrite(
            location.file,
            np.ascontiguousarray(data.transpose(1, 0, 2, 3)),
            imagej=True,
            photometric="minisblack",
            resolution=(_per_nm(vx), _per_nm(vy)),
            metadata={"spacing": vz, "unit": "nm", "axes": "ZCYX"},
        )
        return
    physical = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (vz, vy, vx), strict=True)}
    units = {f"{name}Unit": "nm" for name in physical}
    data = np.ascontiguousarray(data)
    tifffile.imwrite(
        location.file,
        data,
        ome=True,
        photometric="minisblack",
        compression="zlib",  # a label volume shrinks a hundredfold; ImageJ's own format has no compression
        bigtiff=data.nbytes > _IMAGEJ_MAX_BYTES,
        # without these two tifffile writes its version and a random number: the same volume is the same file
        metadata={"axes": "CZYX", "Creator": "crossem", "UUID": _uuid(data), **physical, **units},
    )


def _uuid(data: np.ndarray) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(data).digest()[:16]))


@dataclass(frozen=True)
class _Layout:
    """A series' axes: `axes` names each with one of c, z, y, x, s (samples), 1 (length 1)."""

    axes: str
    shape: tuple[int, ...]

    @property
    def shape_czyx(self) -> tuple[int, int, int, int]:
        return tuple(self.shape[self.axes.index(axis)] if axis in self.axes else 1 for axis in "czyx")

    def page_numbers(self, pages: int) -> np.ndarray | None:
        """Numbers of the pages, (C, Z), if each page is one whole (y, x) section; else None."""
        leading = self.axes.removesuffix("yx")
        if leading == self.axes or "s" in leading or int(np.prod(self.shape[:-2])) != pages:
            return None
        numbers = np.arange(pages).reshape(self.shape[:-2])
        order = [leading.index(axis) for axis in "cz" if axis in leading]
        rest = [k for k in range(len(leading)) if k not in order]
        return numbers.transpose(*order, *rest).reshape(self.shape_czyx[:2])


def _layout(tif: tifffile.TiffFile, location: Location) -> _Layout:
    if len(tif.series) != 1:
        shapes = [tuple(series.shape) for series in tif.series]
        raise InputError(
            f"{location}: {len(shapes)} images, the first of shape {shapes[0]}, another of {shapes[1]};"
            " all sections of a stack need one size and type"
        )
    series = tif.series[0]
    axes = series.axes
    if tif.is_imagej and "Z" not in axes and "T" not in axes:
        axes = axes.replace("C", "Z")  # many programs write a stack as ImageJ "channels"
    names, depth_axes = "", []
    for axis, size in zip(axes, series.shape, strict=True):
        if axis in "YXCS":
            names += axis.lower()
        elif size == 1:
            names += "1"
        else:
            names += "z"
            depth_axes.append(axis)
    if len(depth_axes) > 1 or "y" not in names or "x" not in names:
        raise InputError(
            f"{location}: axes {series.axes} of shape {tuple(series.shape)}; save one 3D stack (ZYX) a file"
        )
    return _Layout(names, tuple(series.shape))


def _to_czyx(data: np.ndarray, layout: _Layout, location: Location) -> np.ndarray:
    axes = layout.axes
    if "s" in axes:
        data = grey_from_samples(np.moveaxis(data, axes.index("s"), -1), str(location))
        axes = axes.replace("s", "")
    order = [axes.index(axis) for axis in "czyx" if axis in axes]
    rest = [k for k in range(len(axes)) if k not in order]
    return data.transpose(*rest, *order).reshape(layout.shape_czyx)


def check_complete(tif: tifffile.TiffFile, location: Location) -> None:
    """tifffile only logs a page chain that breaks off, and would hand out the sections before it."""
    last = tif.pages[len(tif.pages) - 1]
    layout, handle = tif.tiff, tif.filehandle
    handle.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(last.offset + layout.tagnosize + tags * layout.tagsize)
    pointer = handle.read(layout.offsetsize)
    if len(pointer) < layout.offsetsize or struct.unpack(layout.offsetformat, pointer)[0] != 0:
        raise InputError(f"{location}: truncated after section {len(tif.pages)}; get the file again")
    for number, page in enumerate(tif.pages):
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if end > handle.size:
            raise InputError(f"{location}: truncated, the data of section {number} go on beyond the end of the file")


def _voxel_size(tif: tifffile.TiffFile) -> np.ndarray | None:
    """Return z, y, x in nm, or None."""
    if tif.is_ome:
        return _ome_size(tif.ome_metadata)
    if tif.is_imagej:
        return _imagej_size(tif)
    return None


def _ome_size(xml: str) -> np.ndarray | None:
    image = tifffile.xml2dict(xml)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sizes = []
    for axis in "ZYX":
        value = pixels.get(f"PhysicalSize{axis}")
        factor = nm_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))  # µm is the schema's default
        if value is None or factor is None or not 0 < float(value) < np.inf:
            return None
        sizes.append(to_nm(np.float64(value), factor))
    return np.array(sizes)


def _imagej_size(tif: tifffile.TiffFile) -> np.ndarray | None:
    metadata = tif.imagej_metadata or {}
    factor, spacing = nm_per_unit(metadata.get("unit")), metadata.get("spacing")
    tags = [tif.pages[0].tags.get(f"{axis}Resolution") for axis in "YX"]
    if factor is None or not isinstance(spacing, int | float) or spacing == 0 or not all(tags):
        return None
    if any(0 in tag.value for tag in tags):
        return None
    per_pixel = [tag.value[1] / tag.value[0] for tag in tags]
    return to_nm(np.array([abs(spacing), *per_pixel], dtype=np.float64), factor)


def _per_nm(size_nm: float) -> tuple[int, int]:
    """Pixels a nm as a rational that fits the tag; exact for sizes of a few decimals."""
    size = Fraction(repr(size_nm)).limit_denominator(10**6 if size_nm < 2000 else 10**3)
    while size.numerator > _MAX_RATIONAL:
        size = size.limit_denominator(max(1, size.denominator // 10))
    return size.denominator, size.numerator
