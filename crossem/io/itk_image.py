"""What NRRD and MetaImage share: reading with itk, whose physical frame is LPS."""

import itk
import numpy as np

from crossem.errors import InputError
from crossem.io.geometry import LPS_TO_RAS
from crossem.io.header import Location
from crossem.io.units import from_nm, to_nm

# itk component names; int8 and 64-bit integers are missing from itk's Python wrapping
_DTYPES = {
    "unsigned_char": "uint8",
    "unsigned_short": "uint16",
    "short": "int16",
    "unsigned_int": "uint32",
    "int": "int32",
    "float": "float32",
    "double": "float64",
}
ITK_DTYPES = tuple(_DTYPES.values())


def image_facts(location: Location) -> tuple[tuple[int, int, int], np.dtype, np.ndarray]:
    """Return (slowest-first shape, dtype, stored index -> RAS x, y, z in the file's unit)."""
    io = itk.ImageIOFactory.CreateImageIO(str(location.file), itk.CommonEnums.IOFileMode_ReadMode)
    if io is None:
        raise InputError(f"{location}: not a readable {location.file.suffix} file; it is empty, truncated or damaged")
    io.SetFileName(str(location.file))
    io.ReadImageInformation()
    component = io.GetComponentTypeAsString(io.GetComponentType())
    if io.GetNumberOfComponents() != 1 or io.GetNumberOfDimensions() not in (2, 3) or component not in _DTYPES:
        raise InputError(
            f"{location}: {io.GetNumberOfDimensions()}D, {io.GetNumberOfComponents()} channels of"
            f" {component};"
            f" convert to one 3D volume of {', '.join(ITK_DTYPES)}"
        )
    ndim = io.GetNumberOfDimensions()
    matrix = np.eye(4)  # index i, j, k -> LPS
    for axis in range(ndim):
        direction = np.array(io.GetDirection(axis))
        matrix[:ndim, axis] = direction * io.GetSpacing(axis)
        matrix[axis, 3] = io.GetOrigin(axis)
    shape = [io.GetDimensions(axis) for axis in range(ndim)] + [1] * (3 - ndim)
    return tuple(shape[::-1]), np.dtype(_DTYPES[component]), (LPS_TO_RAS @ matrix)[:, [2, 1, 0, 3]]


def affine_to_nm(affine: np.ndarray, factor) -> np.ndarray:
    """Scale an affine in file units to nm."""
    result = affine.copy()
    result[:3] = to_nm(affine[:3], factor)
    return result


def affine_to_lps(affine_nm: np.ndarray, factor) -> np.ndarray:
    """Stored-index affine in RAS nm -> itk's (i, j, k) to LPS, in file units."""
    result = (LPS_TO_RAS @ affine_nm)[:, [2, 1, 0, 3]]
    result[:3] = from_nm(result[:3], factor)
    return result + 0.0  # no negative zeros


def read_region(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """Return (1, s0, s1, s2) of the region."""
    data = itk.array_view_from_image(itk.imread(str(location.file)))
    data = data if data.ndim == 3 else data[None]
    return np.array(data[region])[None]
