"""Which format a path is, from its name; formats are imported on first use."""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from crossem.errors import InputError
from crossem.io.header import FormatModule, Location


@dataclass(frozen=True)
class Format:
    """A format's name, its file name endings, and the module that implements `FormatModule`."""

    name: str
    suffixes: tuple[str, ...]
    module_name: str

    @property
    def module(self) -> FormatModule:
        """The implementing module, imported now."""
        return import_module(f"crossem.io.{self.module_name}")


SLICE_SUFFIXES = (".png", ".tif", ".tiff")
SLICE_FOLDER = Format("slice folder", (), "slice_folder")
FORMATS = (
    Format("NIfTI", (".nii.gz", ".nii"), "nifti"),
    Format("MRC", (".mrc", ".rec", ".map"), "mrc"),
    Format("NRRD", (".nrrd", ".nhdr"), "nrrd"),
    Format("MetaImage", (".mha", ".mhd"), "metaimage"),
    Format("TIFF", (".ome.tiff", ".ome.tif", ".tiff", ".tif"), "tiff"),
    Format("HDF5", (".h5", ".hdf5", ".hdf"), "hdf5"),
    Format("OME-Zarr", (".ome.zarr", ".zarr"), "ome_zarr"),
)
_HDF5_INNER = re.compile(r"^(?P<file>.*\.(?:h5|hdf5|hdf)):/*(?P<inner>.*)$", re.IGNORECASE)


def known_suffixes() -> str:
    """All endings, for messages."""
    return " ".join(suffix for known in FORMATS for suffix in known.suffixes)


def split_location(path: str | Path) -> Location:
    """Split `file.h5:/dataset` and `volume.zarr/group` into the part on disk and the part inside."""
    match = _HDF5_INNER.match(str(path))
    if match:
        return Location(Path(match["file"]), match["inner"].strip("/"))
    path = Path(path)
    for index, part in enumerate(path.parts[:-1]):
        if part.lower().endswith(".zarr"):
            return Location(Path(*path.parts[: index + 1]), "/".join(path.parts[index + 1 :]))
    return Location(path)


def suffix_of(name: str | Path) -> str:
    """The file name's known ending as in `FORMATS` (".nii.gz", ".ome.tif"), or ""."""
    lower = Path(name).name.lower()
    return next((s for known in FORMATS for s in known.suffixes if lower.endswith(s) and lower != s), "")


def format_of(location: Location) -> Format:
    """Return the format; a folder that is no Zarr is a slice folder. InputError for an unknown ending."""
    suffix = suffix_of(location.file)
    known = next((f for f in FORMATS if suffix in f.suffixes), None)
    if location.file.is_dir() and (known is None or known.name != "OME-Zarr"):
        return SLICE_FOLDER
    if known is None:
        raise InputError(f"{location}: unknown file extension; known are {known_suffixes()}, or a folder of slices")
    return known
