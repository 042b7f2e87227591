"""Regions of a volume, `[[z0, z1], [y0, y1], [x0, x1]]` in voxels with null for an open end."""

from collections.abc import Sequence

from crossem.errors import InputError

Region = Sequence[Sequence[int | None]]


def resolve_region(
    region_zyx: Region | None, shape_zyx: Sequence[int], what: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return plain (start, stop) pairs, 0 <= start < stop <= size; negative numbers count from the end.

    `what` names the volume in errors. InputError: no three pairs, empty, or reaching outside the volume.
    """
    if region_zyx is None:
        return tuple((0, int(size)) for size in shape_zyx)
    try:
        pairs = [(start, stop) for start, stop in region_zyx]
        pairs = [tuple(None if v is None else _whole(v) for v in pair) for pair in pairs]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != 3:
        raise InputError(
            f"{what}: region_zyx is {region_zyx!r}: give [[z0, z1], [y0, y1], [x0, x1]], whole numbers or null"
        )
    return tuple(
        _resolve_axis(axis, pair, int(size), what) for axis, pair, size in zip("zyx", pairs, shape_zyx, strict=True)
    )


def _whole(value: float) -> int:
    if int(value) != value:
        raise ValueError(value)
    return int(value)


def _resolve_axis(axis: str, pair: tuple[int | None, int | None], size: int, what: str) -> tuple[int, int]:
    start, stop = pair
    start = 0 if start is None else start + size if start < 0 else start
    stop = size if stop is None else stop + size if stop < 0 else stop
    if not (0 <= start <= size and 0 <= stop <= size):
        raise InputError(
            f"{what}: region {list(pair)} along {axis} reaches outside the volume, which has {size} voxels there"
        )
    if start >= stop:
        raise InputError(f"{what}: region {list(pair)} along {axis} is empty (the volume has {size} voxels there)")
    return start, stop
