"""MetaImage (.mha, .mhd) with itk.

The format has no reliable unit: as in ITK a spacing is in mm, unless the header has `DistanceUnits` (um, mm,
cm). Written in mm. (1, 1, 1) mm, and anything of 0.1 mm and more on all axes, counts as no voxel size. Only
.mha is written.
"""

import itk
import numpy as np

from crossem.errors import InputError
from crossem.io.geometry import is_placeholder
from crossem.io.header import Location, VolumeHeader
from crossem.io.itk_image import ITK_DTYPES, affine_to_lps, affine_to_nm, image_facts, read_region
from crossem.io.units import nm_per_unit

DTYPES = ITK_DTYPES
MAX_CHANNELS = 1
KEEPS_AXIS_ORDER = True
KEEPS_DIRECTIONS = True
_MM = nm_per_unit("mm")
_LONGEST_HEADER = 65536


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    fields = _header_fields(location)
    shape, dtype, affine = image_facts(location)
    _check_size(location, fields, int(np.prod(shape)) * dtype.itemsize)
    affine = affine_to_nm(affine, nm_per_unit(fields.get("DistanceUnits")) or _MM)
    return VolumeHeader((1, *shape), dtype, affine, not is_placeholder(affine))


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`."""
    return read_region(location, region)


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    if location.file.suffix.lower() == ".mhd":
        raise InputError(f"{location}: .mhd would be two files, which cannot be written safely; write .mha")
    image = itk.image_view_from_array(np.ascontiguousarray(data[0]))
    matrix = affine_to_lps(affine, _MM)
    spacing = np.array([np.hypot(np.hypot(*column[:2]), column[2]) for column in matrix[:3, :3].T])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(matrix[:3, :3] / spacing)))
    itk.imwrite(image, str(location.file))
    if not location.file.exists() or location.file.stat().st_size < data.nbytes:
        raise OSError("the disk took only a part of the file")  # itk does not always notice


def _header_fields(location: Location) -> dict[str, str]:
    """The `key = value` lines up to ElementDataFile, which ends a header."""
    fields: dict[str, str] = {}
    with open(location.file, "rb") as file:
        lines = file.read(_LONGEST_HEADER).split(b"\n")
    for line in lines:
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields
    raise InputError(
        f"{location}: the MetaImage header has no ElementDataFile; the file is empty, truncated or damaged"
    )


def _check_size(location: Location, fields: dict[str, str], nbytes: int) -> None:
    """itk prints to the console about a short file, so look first."""
    name = fields["ElementDataFile"]
    if fields.get("CompressedData", "False").lower() == "true" or name.upper().startswith("LIST") or "%" in name:
        return
    data_file = location.file if name.upper() == "LOCAL" else location.file.parent / name
    if not data_file.exists():
        raise InputError(f"{location}: its data file {data_file.name} is missing; keep both in one folder")
    if data_file.stat().st_size < nbytes:
        raise InputError(f"{data_file}: truncated, {data_file.stat().st_size} bytes where {nbytes} are needed")
