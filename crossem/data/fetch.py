"""Bring a dataset into a data folder, from the network or from a folder on disk, and verify what is there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import requests

from crossem.data.download import Progress, download_file, sha256_of
from crossem.data.layout import is_complete, missing_files, present_files, present_layout
from crossem.data.manifest import Manifest, ManifestEntry, Origin, load_manifest, save_manifest
from crossem.data.registry import Dataset, DatasetFile
from crossem.errors import InputError

Status = Literal["published", "as fetched", "unverified", "changed", "missing"]


@dataclass(frozen=True)
class FileCheck:
    """What `verify_dataset` found about one file.

    status: "published", the SHA-256 is the published one; "as fetched", it is not (re-encoded or cropped
    copy) or none is published, and the file is unchanged since it was fetched; "unverified", there is nothing
    to compare with; "changed", neither published nor as fetched; "missing".
    """

    path: str
    status: Status
    note: str


def download_dataset(dataset: Dataset, folder: Path, progress: Progress | None = None) -> None:
    """Download every file of `dataset` into `folder`; files that are there and right are skipped.

    Raises InputError with the by-hand way when a file cannot be had; what has come so far stays.
    """
    with requests.Session() as session, _recorded(folder) as manifest:
        for file in dataset.files:
            path = folder / file.path
            if _already_there(file, path, manifest):
                known = manifest.files.get(file.path)
                origin: Origin = known.origin if known else "found"
                _advance(progress, path)
            else:
                origin = "downloaded"
                try:
                    download_file(file, path, session, progress)
                except InputError as err:
                    raise InputError(f"{err}. By hand: {dataset.how_to_get}") from err
            digest = file.sha256 or sha256_of(path)
            manifest.files[file.path] = ManifestEntry(origin=origin, bytes=path.stat().st_size, sha256=digest)


def copy_dataset(name: str, dataset: Dataset, source_dir: Path, folder: Path, progress: Progress | None = None) -> None:
    """Copy the volumes of dataset `name` that `source_dir` holds into `folder`; equal files are skipped.

    `source_dir` holds them in a folder of that name, or directly; nothing is asked of the network, and a file
    whose checksum is not the published one is taken (`verify_dataset` tells). Raises InputError when the
    folder, a volume that is not optional, or a slice is missing.
    """
    source = _find_source(name, dataset, source_dir)
    absent = missing_files(dataset, source)
    if absent:
        raise InputError(f"{name}: {len(absent)} files are missing in {source}: {_some(absent)}; add them")
    with _recorded(folder) as manifest:
        for path in present_files(dataset, source):
            digest = _copy_file(source / path, folder / path)
            manifest.files[path] = ManifestEntry(origin="copied", bytes=(folder / path).stat().st_size, sha256=digest)
            _advance(progress, folder / path)


def verify_dataset(dataset: Dataset, folder: Path) -> list[FileCheck]:
    """Compare every file of `dataset` in `folder` with its published checksum and with what was fetched."""
    published = {file.path: file for file in dataset.files}
    manifest = load_manifest(folder)
    absent = missing_files(dataset, folder)
    checks = [FileCheck(path, "missing", "not there") for path in absent]
    fetched_and_gone = [path for path in manifest.files if not (folder / path).exists() and path not in absent]
    checks += [FileCheck(path, "missing", "fetched once, not there now") for path in fetched_and_gone]
    for path in sorted({*present_files(dataset, folder), *_present(folder, [*published, *manifest.files])}):
        checks.append(_check(path, folder, published.get(path), manifest.files.get(path)))
    return sorted(checks, key=lambda check: check.path)


def _check(path: str, folder: Path, published: DatasetFile | None, fetched: ManifestEntry | None) -> FileCheck:
    found = sha256_of(folder / path)
    checksum = published.sha256 if published else None
    if checksum == found:
        return FileCheck(path, "published", "SHA-256 is the published one")
    if published is None:
        reason = "local layout, no published file of this name"
    elif checksum is None:
        reason = "no published checksum"
    else:
        reason = "SHA-256 differs from the published one"
    if fetched is not None and fetched.sha256 == found:
        return FileCheck(path, "as fetched", f"{reason}; unchanged since it was {fetched.origin}")
    if fetched is not None or checksum is not None:
        return FileCheck(path, "changed", f"{reason}; not what was fetched")
    return FileCheck(path, "unverified", reason)


def _present(folder: Path, paths: list[str]) -> list[str]:
    return [path for path in paths if (folder / path).is_file()]


def _already_there(file: DatasetFile, path: Path, manifest: Manifest) -> bool:
    if not path.is_file():
        return False
    if file.sha256 is not None:
        return sha256_of(path) == file.sha256
    # No published checksum: the record of an earlier download decides, else the file that the user put there.
    known = manifest.files.get(file.path)
    return known is None or (known.bytes == path.stat().st_size and known.sha256 == sha256_of(path))


def _find_source(name: str, dataset: Dataset, source_dir: Path) -> Path:
    if not source_dir.is_dir():
        raise InputError(f"folder {source_dir} does not exist; give the folder that holds {name}")
    bases = [
        source_dir / name,
        source_dir / name / dataset.remote_folder,
        source_dir,
        source_dir / dataset.remote_folder,
    ]
    bases = list(dict.fromkeys(base for base in bases if base.is_dir()))
    for base in bases:
        if is_complete(dataset, base):
            return base
    for base in bases:  # incomplete: the caller then names what is missing in it
        if any(present_layout(volume, base) for volume in dataset.volumes.values()):
            return base
    layout = next(iter(dataset.volumes.values())).layouts[0]
    wanted = [layout[0].image, *layout[0].annotations.values()]
    looked = ", ".join(str(base) for base in bases)
    raise InputError(f"{name}: {_some(wanted)} not found in {looked}; {dataset.how_to_get}")


def _copy_file(source: Path, destination: Path) -> str:
    """Copy, unless an equal file is there; gives the SHA-256."""
    if destination.is_file() and destination.stat().st_size == source.stat().st_size:
        digest = sha256_of(destination)
        if source.samefile(destination) or digest == sha256_of(source):
            return digest
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    sha256 = hashlib.sha256()
    with source.open("rb") as reader, part.open("wb") as writer:
        while chunk := reader.read(1 << 20):
            sha256.update(chunk)
            writer.write(chunk)
    os.replace(part, destination)
    return sha256.hexdigest()


@contextmanager
def _recorded(folder: Path) -> Iterator[Manifest]:
    """The manifest of `folder`, written when the block ends, also when it ends early."""
    manifest = load_manifest(folder)
    try:
        yield manifest
    finally:
        save_manifest(folder, manifest)


def _advance(progress: Progress | None, path: Path) -> None:
    if progress is not None:
        progress(path.stat().st_size)


def _some(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
