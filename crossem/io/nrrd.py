"""NRRD (.nrrd, .nhdr): read with itk; the unit, which itk drops, is the header's `space units` (or `units`).

A spacing without a length unit counts as no voxel size. Written in nm (or the unit of the file that the
volume came from) with an attached header in LPS, raw encoding. The header is text of a few lines, so it is
written here: itk cannot write `space units`.
"""

import re

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
_NRRD_TYPE = {"float32": "float", "float64": "double"}
_LONGEST_HEADER = 65536


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    unit = _length_unit(location)
    shape, dtype, affine = image_facts(location)
    if unit is None:
        return VolumeHeader((1, *shape), dtype, affine, False)
    affine = affine_to_nm(affine, nm_per_unit(unit))
    return VolumeHeader((1, *shape), dtype, affine, not is_placeholder(affine), unit)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`."""
    return read_region(location, region)


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    if location.file.suffix.lower() == ".nhdr":
        raise InputError(f"{location}: .nhdr would be two files, which cannot be written safely; write .nrrd")
    unit = unit or "nm"
    matrix = affine_to_lps(affine, nm_per_unit(unit))
    header = [
        "NRRD0004",
        f"type: {_NRRD_TYPE.get(data.dtype.name, data.dtype.name)}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in data.shape[:0:-1]),
        "space directions: " + " ".join(_vector(matrix[:3, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f'space units: "{unit}" "{unit}" "{unit}"',
        f"space origin: {_vector(matrix[:3, 3])}",
    ]
    with open(location.file, "wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        for section in data[0]:
            file.write(np.ascontiguousarray(section, dtype=section.dtype.newbyteorder("<")).tobytes())


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _length_unit(location: Location) -> str | None:
    """The unit that all axes share, or None."""
    with open(location.file, "rb") as file:
        text = file.read(_LONGEST_HEADER).split(b"\n\n")[0].replace(b"\r", b"").decode("latin-1")
    if not text.startswith("NRRD"):
        raise InputError(f"{location}: no NRRD header; the file is empty or damaged")
    match = re.search(r"^(?:space )?units: *(.*)$", text, re.MULTILINE)
    units = set(re.findall(r'"([^"]*)"', match[1])) if match else set()
    unit = units.pop() if len(units) == 1 else None
    return unit if nm_per_unit(unit) is not None else None
