"""Finding the volumes that a user means by a file, a folder or a pattern."""

import glob
from pathlib import Path

import tifffile
from natsort import natsorted

from crossem.errors import InputError
from crossem.io.formats import SLICE_SUFFIXES, known_suffixes, split_location, suffix_of
from crossem.io.header import Location
from crossem.io.paths import check_exists
from crossem.io.tiff import check_complete


def find_volumes(pattern_or_folder: str | Path) -> list[Path]:
    """Return the volumes in natural order.

    A file or `file.h5:/dataset`: itself. A folder of single slices (PNG, one-page TIFF): that folder, one
    stack. A folder of stacks, or of folders of slices: each of them. A pattern with * ? []: each match.
    InputError: nothing there, or slices mixed with stacks.
    """
    text = str(pattern_or_folder)
    location = split_location(text)
    if glob.has_magic(text) and not location.file.exists():
        return _matches(text)
    check_exists(location.file)
    if location.inner:
        return [Path(text)]
    path = location.file
    if path.is_file() or suffix_of(path).endswith(".zarr"):
        if not suffix_of(path):
            raise InputError(f"{path}: unknown file extension; known are {known_suffixes()}, or a folder of slices")
        return [path]
    return _in_folder(path)


def _matches(pattern: str) -> list[Path]:
    hits = [Path(name) for name in natsorted(glob.glob(pattern, recursive=True))]
    volumes = [hit for hit in hits if _is_volume(hit)]
    if not volumes:
        raise InputError(
            f"{pattern}: no volume matches ({len(hits)} other files do); known are"
            f" {known_suffixes()}, or folders of slices"
        )
    if all(_is_slice(volume) for volume in volumes):
        raise InputError(
            f"{pattern}: matches single slices ({volumes[0].name}); give their folder, {volumes[0].parent}"
        )
    return volumes


def _in_folder(folder: Path) -> list[Path]:
    entries = natsorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.name)
    volumes = [entry for entry in entries if _is_volume(entry)]
    if not volumes:
        raise InputError(
            f"{folder}: no volume in this folder; looked for {known_suffixes()}, and folders of slices; "
            "for folders further down give a pattern such as 'data/*/raw'"
        )
    slices = [volume for volume in volumes if _is_slice(volume)]
    if not slices:
        return volumes
    stacks = [volume for volume in volumes if volume.is_file() and volume not in slices]
    if stacks:
        raise InputError(
            f"{folder}: single slices ({slices[0].name}) and stacks ({stacks[0].name}) together; separate them"
        )
    return [folder]


def _is_volume(path: Path) -> bool:
    """A file of a known ending, a Zarr folder, or a folder that holds slices."""
    if path.is_file():
        return bool(suffix_of(path) or path.suffix.lower() in SLICE_SUFFIXES)
    if suffix_of(path).endswith(".zarr"):
        return True
    return path.is_dir() and any(_is_slice(e) for e in path.iterdir() if not e.name.startswith("."))


def _is_slice(path: Path) -> bool:
    """A PNG, or a TIFF of one section."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in SLICE_SUFFIXES:
        return False
    if suffix == ".png":
        return True
    try:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            check_complete(tif, Location(path))  # a stack cut after its first section would pass for a slice
            return len(tif.pages) == 1 and all(
                s == 1 for a, s in zip(series.axes, series.shape, strict=True) if a not in "YXS"
            )
    except InputError:
        raise
    except Exception:  # damaged: reading it will say so, as a volume
        return False
