"""Kernels and strides of a U-Net, planned from the voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossem.errors import InputError

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class UNetPlan:
    """What one level of the network does, from the finest (0) to the coarsest.

    Attributes:
        channels: feature channels of each level.
        kernels_zyx: convolution kernel of each level.
        strides_zyx: stride from level i to level i + 1, so one shorter than ``channels``.
    """

    channels: tuple[int, ...]
    kernels_zyx: tuple[Triple, ...]
    strides_zyx: tuple[Triple, ...]

    @property
    def levels(self) -> int:
        return len(self.channels)

    @property
    def divisor_zyx(self) -> Triple:
        """Every input length must be a multiple of this."""
        divisor = [1, 1, 1]
        for stride in self.strides_zyx:
            divisor = [d * s for d, s in zip(divisor, stride, strict=True)]
        return tuple(divisor)

    @property
    def window_divisor_zyx(self) -> Triple:
        """Multiples of this leave two voxels an axis at the coarsest level, which the normalisation needs."""
        return tuple(2 * d for d in self.divisor_zyx)


def plan_unet(
    voxel_size_zyx_nm: Sequence[float],
    roi_size_zyx: Sequence[int],
    channels: Sequence[int] = (16, 32, 48, 96, 160),
    min_size: int = 4,
) -> UNetPlan:
    """Plan an anisotropic U-Net.

    An axis is pooled, and its kernel is 3, only once the other axes have become as coarse to within a factor
    of two, and only while at least ``min_size`` voxels of the region of interest are left (the rule of nnU-Net,
    Isensee et al., Nature Methods 2021, online methods).

    Args:
        voxel_size_zyx_nm: working voxel size in nm.
        roi_size_zyx: training patch in voxels.
        channels: feature channels, one entry a level; coarse levels that cannot be reached are dropped.
        min_size: smallest length that pooling may leave.

    Raises:
        InputError: when a size is not positive, or the patch is not a multiple of the planned strides.
    """
    for name, value in (("voxel_size_zyx_nm", voxel_size_zyx_nm), ("roi_size_zyx", roi_size_zyx)):
        if len(value) != 3 or min(value) <= 0:
            raise InputError(f"{name} is {list(value)}: give three positive numbers, in z, y, x order")
    spacing, size = [float(v) for v in voxel_size_zyx_nm], [int(v) for v in roi_size_zyx]
    kernels, strides = [], []
    for level in range(len(channels)):
        fine = [s / min(spacing) < 2 for s in spacing]
        kernels.append(tuple(3 if f else 1 for f in fine))
        stride = tuple(2 if f and n >= 2 * min_size else 1 for f, n in zip(fine, size, strict=True))
        if level == len(channels) - 1 or max(stride) == 1:
            break
        strides.append(stride)
        spacing = [s * t for s, t in zip(spacing, stride, strict=True)]
        size = [n // t for n, t in zip(size, stride, strict=True)]
    plan = UNetPlan(tuple(channels[: len(kernels)]), tuple(kernels), tuple(strides))
    if any(n % d for n, d in zip(roi_size_zyx, plan.divisor_zyx, strict=True)):
        raise InputError(
            f"roi_size_zyx is {list(roi_size_zyx)}: each length must be a multiple of {list(plan.divisor_zyx)}"
        )
    return plan
