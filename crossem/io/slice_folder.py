"""A folder of PNG or TIFF slices in natural order. Read only: slices hold no voxel size."""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from natsort import natsorted
from PIL import Image

from crossem.errors import InputError
from crossem.io.formats import SLICE_SUFFIXES
from crossem.io.geometry import plain_affine
from crossem.io.grey import grey_from_samples
from crossem.io.header import Location, VolumeHeader
from crossem.io.paths import one_line

DTYPES: tuple[str, ...] = ()
MAX_CHANNELS = 0
KEEPS_AXIS_ORDER = False
KEEPS_DIRECTIONS = False


def slice_files(folder: Path) -> list[Path]:
    """The slices in natural order; InputError: none, two file types, a number missing or double."""
    files = natsorted((f for f in folder.iterdir() if f.suffix.lower() in SLICE_SUFFIXES and f.name[0] != "."), str)
    if not files:
        raise InputError(
            f"{folder}: a folder without {', '.join(SLICE_SUFFIXES)} slices; give a stack file or its folder"
        )
    first_kind = _kind(files[0])
    other = next((f for f in files if _kind(f) != first_kind), None)
    if other is not None:
        raise InputError(f"{folder}: has slices of two types, {files[0].name} and {other.name}; keep one type a folder")
    _check_numbers(folder, files)
    return files


def read_header(location: Location) -> VolumeHeader:
    """See `FormatModule`; opens each slice's header to find one of another size."""
    files = slice_files(location.file)
    facts = [_facts(file, file.stat().st_mtime_ns) for file in files]
    for file, fact in zip(files, facts, strict=True):
        if fact != facts[0]:
            raise InputError(
                f"{file}: {fact[0]} (y, x) {fact[1]}, but {files[0].name} is {facts[0][0]} {facts[0][1]};"
                " all slices need one size and type"
            )
    (height, width), dtype = facts[0]
    return VolumeHeader((1, len(files), height, width), np.dtype(dtype), plain_affine(None), False)


def read_data(location: Location, region: tuple[slice, slice, slice]) -> np.ndarray:
    """See `FormatModule`; reads the slices of the region only."""
    z, y, x = region
    return np.stack([_read_slice(file)[y, x] for file in slice_files(location.file)[z]])[None]


def write(location: Location, data: np.ndarray, affine: np.ndarray, unit: str) -> None:
    """Refuses: slices cannot hold the voxel size."""
    raise InputError(f"{location}: slices hold no voxel size; write a .tif stack")


def _kind(file: Path) -> str:
    return "png" if file.suffix.lower() == ".png" else "tiff"


def _check_numbers(folder: Path, files: list[Path]) -> None:
    """Find gaps where one number in the names counts the slices; other names are only sorted."""
    parts = [re.split(r"(\d+)", file.stem) for file in files]
    if len({len(p) for p in parts}) != 1:
        return
    varying = [k for k in range(len(parts[0])) if len({int(p[k]) if k % 2 else p[k] for p in parts}) > 1]
    if len(varying) == 0 and len(files) > 1:
        raise InputError(f"{folder}: {files[0].name} and {files[1].name} have the same number; remove one")
    if len(varying) != 1 or varying[0] % 2 == 0:
        return
    numbers = [int(p[varying[0]]) for p in parts]
    steps = np.diff(numbers)
    if (steps == 0).any():
        first = int(np.argmin(steps))
        raise InputError(f"{folder}: {files[first].name} and {files[first + 1].name} have the same number; remove one")
    if len(numbers) > 2 and len(set(steps.tolist())) == 1:
        return  # every n-th slice, regular
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{folder}: slice number {missing[0]}{more} missing between {files[0].name} and {files[-1].name}"
        )


@lru_cache(maxsize=16384)
def _facts(file: Path, _modified: int) -> tuple[tuple[int, int], str]:
    """((y, x), dtype) of a slice without decoding it; cached, as training reads a folder often."""
    try:
        if _kind(file) == "png":
            with Image.open(file) as image:
                return image.size[::-1], _pillow_dtype(image.mode)
        with tifffile.TiffFile(file) as tif:
            series = tif.series[0]
            sizes = dict(zip(series.axes, series.shape, strict=True))
            if any(size > 1 for axis, size in sizes.items() if axis not in "YXS"):
                raise InputError(f"{file}: a stack of shape {series.shape} among slices; give stacks one by one")
            return (sizes["Y"], sizes["X"]), np.dtype(series.dtype).newbyteorder("=").name
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{file}: cannot be read; it is empty, truncated or damaged ({one_line(error)})") from error


def _pillow_dtype(mode: str) -> str:
    if mode in ("I;16", "I;16B"):
        return "uint16"
    return {"1": "bool", "I": "int32", "F": "float32"}.get(mode, "uint8")


def _read_slice(file: Path) -> np.ndarray:
    try:
        if _kind(file) == "png":
            with Image.open(file) as image:
                data = np.asarray(image)
        else:
            data = tifffile.imread(file)
    except Exception as error:
        raise InputError(f"{file}: cannot be read; it is truncated or damaged ({one_line(error)})") from error
    data = data.reshape(data.shape[-3:]) if data.ndim > 3 else data
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    return grey_from_samples(data, str(file)) if data.ndim == 3 else data
