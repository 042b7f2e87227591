from pathlib import Path

import pytest

from crossem.errors import InputError
from crossem.io import split_location, suffix_of
from crossem.io.formats import FORMATS, format_of


@pytest.mark.parametrize(
    ("path", "file", "inner"),
    [
        ("a/v.h5:/volumes/raw", "a/v.h5", "volumes/raw"),
        ("a/v.hdf5:raw", "a/v.hdf5", "raw"),
        ("v.h5", "v.h5", ""),
        ("a/v.ome.zarr/em/s0", "a/v.ome.zarr", "em/s0"),
        ("a.zarr", "a.zarr", ""),
        ("x/raw", "x/raw", ""),
    ],
)
def test_split(path, file, inner):
    location = split_location(path)
    assert (location.file, location.inner) == (Path(file), inner)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("V.NII.GZ", ".nii.gz"),
        ("a.b.ome.tif", ".ome.tif"),
        ("a.tiff", ".tiff"),
        ("x.ome.zarr", ".ome.zarr"),
        ("a.txt", ""),
        (".tif", ""),
    ],
)
def test_suffix(name, suffix):
    assert suffix_of(name) == suffix


def test_every_ending_has_its_format_and_folders_are_slices(tmp_path):
    for known in FORMATS:
        for suffix in known.suffixes:
            assert format_of(split_location(f"v{suffix}")) is known
    (tmp_path / "v.tif").mkdir()
    assert format_of(split_location(tmp_path / "v.tif")).name == "slice folder"
    with pytest.raises(InputError, match="unknown file extension; known are"):
        format_of(split_location("v.czi"))
