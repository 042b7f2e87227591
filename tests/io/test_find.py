import numpy as np
import pytest
import tifffile
from PIL import Image

from crossem.errors import InputError
from crossem.io import find_volumes, read_volume, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (1, 3, 5, 6)).astype(np.uint8)


def _slices(folder, count=3, suffix=".png"):
    folder.mkdir(parents=True)
    for k in range(count):
        Image.fromarray(DATA[0, 0]).save(folder / f"{k}{suffix}")
    return folder


def test_a_file_itself(tmp_path):
    path = write_volume(tmp_path / "v.nii.gz", DATA, (1, 1, 1))
    assert find_volumes(path) == [path]
    path = write_volume(f"{tmp_path}/v.h5:/raw", DATA, (1, 1, 1))
    assert [str(p) for p in find_volumes(f"{path}:/raw")] == [f"{path}:/raw"]
    path = write_volume(tmp_path / "v.zarr", DATA, (1, 1, 1))
    assert find_volumes(str(path)) == [path]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_folder_of_slices_is_one_stack(tmp_path, suffix):
    folder = _slices(tmp_path / "raw", suffix=suffix)
    (folder / "notes.txt").write_text("x")
    assert find_volumes(folder) == [folder]


def test_a_folder_of_many_in_natural_order(tmp_path):
    for name in ("s10.tif", "s9.tif", "b.nii.gz", "c.zarr"):
        write_volume(tmp_path / name, DATA, (1, 1, 1))
    _slices(tmp_path / "a2")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".s9.tmp.tif").write_text("rest of a killed run")
    assert [p.name for p in find_volumes(tmp_path)] == ["a2", "b.nii.gz", "c.zarr", "s9.tif", "s10.tif"]
    assert [p.name for p in find_volumes(f"{tmp_path}/s*.tif")] == ["s9.tif", "s10.tif"]
    assert [p.name for p in find_volumes(f"{tmp_path}/*2")] == ["a2"]


def test_subfolders_with_slices(tmp_path):
    folders = [_slices(tmp_path / name) for name in ("stack1", "stack2", "stack10")]
    assert find_volumes(tmp_path) == folders


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"imagej": True, "metadata": {"axes": "ZYX"}}])
def test_a_tiff_stack_is_no_slice(tmp_path, options):
    tifffile.imwrite(tmp_path / "v.tif", DATA[0], photometric="minisblack", **options)
    assert find_volumes(tmp_path) == [tmp_path / "v.tif"]


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"nothing\*.tif: no volume matches"):
        find_volumes(f"{tmp_path}/nothing*.tif")
    with pytest.raises(InputError, match="emtpy: not found; did you mean empty"):
        find_volumes(tmp_path / "emtpy")
    with pytest.raises(InputError, match="empty: no volume in this folder; looked for .nii.gz"):
        find_volumes(tmp_path / "empty")
    (tmp_path / "v.txt").write_text("x")
    with pytest.raises(InputError, match="v.txt: unknown file extension"):
        find_volumes(tmp_path / "v.txt")


def test_a_mixture_and_a_pattern_of_slices(tmp_path):
    folder = _slices(tmp_path / "raw")
    with pytest.raises(InputError, match="matches single slices .*; give their folder, .*raw"):
        find_volumes(f"{folder}/*.png")
    write_volume(folder / "v.nii.gz", DATA, (1, 1, 1))
    with pytest.raises(InputError, match="0.png.* and stacks .*v.nii.gz.* together"):
        find_volumes(folder)


def test_a_truncated_stack_does_not_pass_for_a_slice(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((12, 64, 64), np.uint8), photometric="minisblack", metadata=None)
    whole = (tmp_path / "stack.tif").read_bytes()
    (tmp_path / "stack.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"stack\.tif"):
        for volume in find_volumes(tmp_path):
            read_volume(volume, (40, 5, 5))
