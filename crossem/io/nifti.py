"""NIfTI (.nii, .nii.gz) with nibabel.

Written in mm, the unit that readers which ignore `xyzt_units` assume (unless the volume came from a file in
another unit), both sform and qform. nibabel's array (i, j, k) is the transpose of the stored (k, j, i) = (z,
y, x).
"""

import nibabel as nib
import numpy as np

from crossem.errors import InputError
from crossem.io.geometry import is_placeholder, plain_affine
from crossem.io.header import Location, VolumeHeader
from crossem.io.units import from_nm, nm_per_unit, to_nm

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64")
MAX_CHANNELS = 1
KEEPS_AXIS_ORDER = True
KEEPS_DIRECTIONS = True
_REVERSED = [2, 1, 0, 3]
_NIFTI1_LONGEST_AXIS = 32767


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`."""
    image = nib.load(location.file)
    shape = image.shape + (1,) * (3 - len(image.shape))
    if len(shape) > 3 and any(size != 1 for size in shape[3:]):
        raise InputError(f"{location}: NIfTI of shape {shape} has more than 3 axes; give one 3D volume a file")
    unit = image.header.get_xyzt_units()[0]
    factor = nm_per_unit(unit)
    # float32 headers: the shortest decimal of each number is what was meant (0.0475, not 0.04749999940395355)
    affine = image.affine.astype(np.float32)[:, _REVERSED]
    affine_nm = affine.astype(np.float64)
    if factor is not None:
        affine_nm[:3] = to_nm(affine[:3], factor)
    if not np.isfinite(affine_nm).all() or not affine_nm[:3, :3].any(axis=0).all():
        affine_nm, factor = plain_affine(None), None  # an axis of length 0 has no direction either
    known = factor is not None and not is_placeholder(affine_nm)
    dtype = image.get_data_dtype() if _is_unscaled(image) else np.dtype(np.float32)
    return VolumeHeader((1, *shape[2::-1]), dtype.newbyteorder("="), affine_nm, known, unit if factor else "")


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; reads the region only."""
    image = nib.load(location.file)
    index = region[::-1][: len(image.shape)] + (0,) * (len(image.shape) - 3)
    data = np.asarray(image.dataobj[index])
    data = data if _is_unscaled(image) else data.astype(np.float32)
    return data.reshape(data.shape + (1,) * (3 - data.ndim)).T[None]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """See `FormatModule`."""
    unit = unit or "mm"
    matrix = np.eye(4)
    matrix[:3] = from_nm(affine[:3], nm_per_unit(unit))[:, _REVERSED]
    kind = nib.Nifti1Image if max(data.shape) <= _NIFTI1_LONGEST_AXIS else nib.Nifti2Image
    image = kind(data[0].T, matrix, dtype=data.dtype)
    image.header.set_xyzt_units(unit)
    image.set_sform(matrix, code=1)
    image.set_qform(matrix, code=1 if _is_orthogonal(matrix) else 0, strip_shears=True)
    nib.save(image, location.file)


def _is_unscaled(image: nib.spatialimages.SpatialImage) -> bool:
    return image.dataobj.slope == 1 and image.dataobj.inter == 0


def _is_orthogonal(matrix: np.ndarray) -> bool:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-5)
