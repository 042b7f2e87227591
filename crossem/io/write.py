"""Writing a volume in any format, whole or not at all."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.io import geometry
from crossem.io.atomic import atomic_output, check_output_folder
from crossem.io.formats import SLICE_FOLDER, Format, format_of, split_location, suffix_of
from crossem.io.header import Location


def write_volume(
    path: str | Path,
    volume: torch.Tensor | np.ndarray,
    voxel_size_zyx_nm: Sequence[float] | None = None,
) -> Path:
    """Write (C, Z, Y, X) to `path`, in the format of its extension; return the path of the file.

    A MetaTensor's grid is kept: voxel size, origin and directions where the format has them, and the axis
    order of the file that it came from (NIfTI, MRC, NRRD, MetaImage). `voxel_size_zyx_nm` overrides the
    volume's and is needed for a tensor or array without affine. Writing is atomic. An HDF5 path may name the
    dataset (`out.h5:/seg`; else /data); other datasets of the file stay.

    Raises InputError: unknown extension, no voxel size, not 4-D, type or channel count the format has not,
    folder not writable, disk full.
    """
    location = split_location(path)
    kind = format_of(location)
    if kind is SLICE_FOLDER:
        raise InputError(f"{path}: is a folder; give a file name, for example {Path(path).name}.tif")
    data = _to_array(volume, path)
    _check_supported(kind, data, path)
    affine = _affine_of(volume, voxel_size_zyx_nm, path)
    meta = volume.meta if isinstance(volume, MetaTensor) else {}
    data, affine = _to_stored(kind, data, affine, str(meta.get("file_axes", "zyx")), path)
    check_output_folder(location.file.parent)
    with atomic_output(location.file, suffix_of(location.file)) as temporary:
        if kind.name == "HDF5" and location.file.exists():
            shutil.copyfile(location.file, temporary)  # other datasets of the file are kept
        kind.module.write(Location(temporary, location.inner), data, affine, str(meta.get("file_unit", "")))
    return location.file


def _to_array(volume: torch.Tensor | np.ndarray, path: str | Path) -> np.ndarray:
    if isinstance(volume, torch.Tensor):
        tensor = volume.as_tensor() if isinstance(volume, MetaTensor) else volume
        tensor = tensor.detach().cpu()
        volume = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    data = np.asarray(volume)
    if data.ndim != 4 or 0 in data.shape:
        raise InputError(f"{path}: a volume of shape {data.shape} was to be written; it has to be (C, Z, Y, X), none 0")
    if data.dtype == bool:
        return data.astype(np.uint8)
    return data.astype(np.float32) if data.dtype == np.float16 else data


def _check_supported(kind: Format, data: np.ndarray, path: str | Path) -> None:
    module = kind.module
    if data.dtype.name not in module.DTYPES:
        raise InputError(f"{path}: {kind.name} cannot hold {data.dtype}; convert to one of {', '.join(module.DTYPES)}")
    if data.shape[0] > module.MAX_CHANNELS:
        raise InputError(
            f"{path}: {data.shape[0]} channels do not fit a {kind.name} file; write .ome.tif, .h5 or .zarr"
        )


def _affine_of(volume: object, voxel_size_zyx_nm: Sequence[float] | None, path: str | Path) -> np.ndarray:
    affine = None
    if isinstance(volume, MetaTensor):
        candidate = volume.affine.detach().cpu().numpy().astype(np.float64)
        # MONAI gives tensors of unknown place the identity, which is no z, y, x affine.
        affine = None if np.array_equal(candidate, np.eye(4)) else candidate
    if voxel_size_zyx_nm is None:
        if affine is None:
            raise InputError(f"{path}: the volume to write has no voxel size; pass voxel_size_zyx_nm=[z, y, x] in nm")
        return affine
    sizes = geometry.check_voxel_size(voxel_size_zyx_nm)
    return geometry.plain_affine(sizes) if affine is None else geometry.with_voxel_size(affine, sizes)


def _to_stored(
    kind: Format, data: np.ndarray, affine: np.ndarray, file_axes: str, path: str | Path
) -> tuple[np.ndarray, np.ndarray]:
    """Put axes (and the affine's columns) in file order; tell when directions are lost."""
    if not kind.module.KEEPS_DIRECTIONS and not geometry.is_plain(affine):
        warnings.warn(
            f"{path}: {kind.name} cannot store the volume's flip or rotation, only its voxel size",
            stacklevel=3,
        )
    if not kind.module.KEEPS_AXIS_ORDER or sorted(file_axes) != ["x", "y", "z"]:
        return data, affine
    order = ["zyx".index(axis) for axis in file_axes]
    return data.transpose(0, *(1 + axis for axis in order)), affine[:, [*order, 3]]
