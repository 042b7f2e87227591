"""Writing so that a file is whole or absent, and checking an output folder before work starts."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossem.errors import InputError
from crossem.io.paths import one_line


@contextmanager
def atomic_output(path: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that ends in `suffix`; it takes the name `path` once it is safely
    on disk.

    On any failure the temporary is removed and `path` is left as it was. Failures to write (a full disk, a
    lost connection) come out as InputError naming `path`. Works for a file and for a folder (Zarr).
    """
    temporary = path.with_name(f".{path.name.removesuffix(suffix)}.{uuid.uuid4().hex[:8]}.tmp{suffix}")
    try:
        yield temporary
        _sync(temporary)
        _replace(temporary, path)
        _sync_folder(path.parent)
    except InputError:
        raise
    except (OSError, RuntimeError) as error:  # itk and h5py report a full disk as RuntimeError
        free_mb = _free_bytes(path.parent) / 1e6
        raise InputError(f"{path}: could not be written ({one_line(error)}); {free_mb:.0f} MB free there") from error
    finally:
        _remove(temporary)


def check_output_folder(path: str | Path, needed_bytes: int = 0) -> Path:
    """Create the folder and prove that it can be written to; return it.

    InputError if it cannot be made or written, or if less than `needed_bytes` are free.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
    except OSError as error:
        raise InputError(f"{folder}: output folder cannot be written ({one_line(error)}); choose another") from error
    free = _free_bytes(folder)
    if free < needed_bytes:
        raise InputError(
            f"{folder}: {needed_bytes / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free; make room or"
            f" choose another folder"
        )
    return folder


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _sync(path: Path) -> None:
    files = (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else (path,)
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse it for folders; the rename itself is done
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    """os.replace, also over an existing folder, which cannot be replaced in one step."""
    if not path.is_dir():
        os.replace(temporary, path)
        return
    if not temporary.is_dir():
        raise InputError(f"{path}: is a folder; choose another output name")
    old = temporary.with_name(temporary.name + ".old")
    os.replace(path, old)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
