"""Voxel sizes and affines: index (z, y, x) -> physical (x, y, z) in nm.

The physical frame is that of NIfTI and MONAI (RAS+). Formats in ITK's frame (LPS+) are converted on reading
and writing, so that one volume has one place whatever its format.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from crossem.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SMALLEST_PLACEHOLDER_NM = 1e5  # 0.1 mm: programs write (1, 1, 1) mm when they know nothing


def make_affine(voxel_size_zyx_nm: Sequence[float], origin_xyz_nm: Sequence[float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """Return the 4x4 float64 affine of an unrotated volume: affine[0, 2] = vx, [1, 1] = vy, [2, 0] = vz."""
    vz, vy, vx = check_voxel_size(voxel_size_zyx_nm)
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = vx, vy, vz, 1.0
    affine[:3, 3] = torch.as_tensor([float(o) for o in origin_xyz_nm], dtype=torch.float64)
    return affine


def voxel_size_zyx_nm(volume_or_affine: torch.Tensor | np.ndarray) -> tuple[float, float, float]:
    """Return the voxel size of a MetaTensor (C, Z, Y, X) or of a 4x4 affine: its columns' norms."""
    affine = getattr(volume_or_affine, "affine", volume_or_affine)
    affine = np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64)
    if affine.shape != (4, 4):
        raise InputError(
            f"a voxel size needs a 4x4 affine, this one is {affine.shape}: pass a MetaTensor or its affine"
        )
    return tuple(math.hypot(*affine[:3, axis]) for axis in range(3))


def check_voxel_size(value: Sequence[float], what: str = "voxel_size_zyx_nm") -> tuple[float, float, float]:
    """Return (z, y, x) as floats; InputError unless they are three positive, finite numbers."""
    try:
        sizes = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        sizes = ()
    if isinstance(value, str) or len(sizes) != 3 or not all(math.isfinite(v) and v > 0 for v in sizes):
        raise InputError(f"{what} is {value!r}: give three positive numbers in nm, [z, y, x]")
    return sizes


def is_placeholder(affine_nm: np.ndarray) -> bool:
    """Whether the voxel size says nothing: zero, not finite, or 0.1 mm and more along every axis."""
    sizes = [math.hypot(*affine_nm[:3, axis]) for axis in range(3)]
    if not all(math.isfinite(v) and v > 0 for v in sizes):
        return True
    return all(v >= _SMALLEST_PLACEHOLDER_NM for v in sizes)


def with_voxel_size(affine: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Give the index axes new lengths; directions, and the index at which the physical origin lies, stay."""
    old = np.array([math.hypot(*affine[:3, axis]) for axis in range(3)])
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] / old * np.asarray(sizes)
    origin_index = np.linalg.solve(affine[:3, :3], affine[:3, 3])
    result[:3, 3] = result[:3, :3] @ origin_index
    return result


def shift_origin(affine: np.ndarray, start: Sequence[int]) -> np.ndarray:
    """Return the affine of the crop that begins at index `start`."""
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ np.asarray(start, dtype=np.float64)
    return result


def stored_axes(affine: np.ndarray) -> str:
    """Name the stored axes by the physical axis that each is closest to, e.g. "zyx" or "xyz"."""
    from nibabel.orientations import io_orientation

    return "".join("xyz"[int(axis)] for axis in io_orientation(affine)[:, 0])


def is_plain(affine: np.ndarray) -> bool:
    """Whether a z, y, x affine has no flip and no rotation (the origin is free)."""
    vz, vy, vx = voxel_size_zyx_nm(affine)
    return bool(
        np.allclose(affine[:3, :3], make_affine((vz, vy, vx)).numpy()[:3, :3], rtol=0, atol=1e-6 * min(vz, vy, vx))
    )


def plain_affine(sizes: Sequence[float] | None) -> np.ndarray:
    """`make_affine` as an array, for file headers; unit steps when the size is unknown (None)."""
    return make_affine(sizes if sizes is not None else (1.0, 1.0, 1.0)).numpy()
