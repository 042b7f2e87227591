"""Checks of all stacks and of the output folder before the first one is segmented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from crossem.errors import InputError
from crossem.io import check_output_folder, check_voxel_size, read_header, read_voxel_size_zyx_nm


def check_inputs(
    stacks: Sequence[Path], output_dir: str | Path, voxel_size_zyx_nm: Sequence[float] | None = None
) -> None:
    """Read every header, so that the twentieth stack does not fail after nineteen were segmented.

    Args:
        stacks: volumes to be segmented.
        output_dir: is created; needs room for one byte a voxel.
        voxel_size_zyx_nm: given explicitly, or None when the files have to state it.

    Raises:
        InputError: a damaged file, several channels, a missing or wrong voxel size, a folder that is full, not
            writable, or that of the stacks.
    """
    if voxel_size_zyx_nm is not None:
        check_voxel_size(voxel_size_zyx_nm)
    voxels = 0
    for stack in stacks:
        channels, *shape = read_header(stack).shape
        if channels != 1:
            raise InputError(f"{stack} has {channels} channels: give a stack of one grey channel")
        if Path(stack).absolute().parent == Path(output_dir).absolute():
            raise InputError(
                f"output_dir {output_dir} holds the input {Path(stack).name}: choose another folder, "
                "or the next run would segment the results"
            )
        voxels += math.prod(shape)
        if voxel_size_zyx_nm is None:
            read_voxel_size_zyx_nm(stack)
    check_output_folder(output_dir, needed_bytes=voxels)
