import shutil
from collections import namedtuple

import pytest

from crossem.errors import InputError
from crossem.io import atomic_output, check_output_folder


def test_the_name_appears_only_when_done(tmp_path):
    target = tmp_path / "v.ome.tif"
    with atomic_output(target, ".ome.tif") as temporary:
        assert temporary.parent == tmp_path and temporary.name.startswith(".") and temporary.name.endswith(".ome.tif")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("no space"), RuntimeError("itk"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path, error):
    target = tmp_path / "v.tif"
    target.write_text("old")
    expected = InputError if isinstance(error, OSError | RuntimeError) else type(error)
    with pytest.raises(expected), atomic_output(target, ".tif") as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_nothing_written_is_an_error(tmp_path):
    with (
        pytest.raises(InputError, match="v.tif: could not be written"),
        atomic_output(tmp_path / "v.tif", ".tif"),
    ):
        pass


def test_a_folder_replaces_a_folder_and_never_a_file_a_folder(tmp_path):
    (tmp_path / "v.zarr").mkdir()
    (tmp_path / "v.zarr" / "old").write_text("old")
    with atomic_output(tmp_path / "v.zarr", ".zarr") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert [p.name for p in (tmp_path / "v.zarr").iterdir()] == ["new"]
    with (
        pytest.raises(InputError, match="is a folder"),
        atomic_output(tmp_path / "v.zarr", ".zarr") as temporary,
    ):
        temporary.write_text("file")
    assert [p.name for p in tmp_path.iterdir()] == ["v.zarr"]


def test_output_folder_is_made(tmp_path):
    assert check_output_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/nothing"])
def test_unwritable_output_folder(tmp_path, folder):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="output folder cannot be written .*; choose another") as error:
        check_output_folder(tmp_path / folder)
    assert "\n" not in str(error.value)


def test_too_little_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5 * 10**6, 5 * 10**6))
    with pytest.raises(InputError, match="20 MB needed, 5 MB free"):
        check_output_folder(tmp_path, needed_bytes=20 * 10**6)
    check_output_folder(tmp_path, needed_bytes=5 * 10**6)
