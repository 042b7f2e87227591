"""What a result depends on besides its options: the code, the libraries, the machine and the data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natsort import natsorted

from crossem.io import split_location

PACKAGES = tuple("torch monai pytorch-ignite numpy scipy scikit-image connected-components-3d edt crossem".split())


def git_commit() -> str | None:
    """The commit of the code, with "-dirty" where a tracked file outside docs/results differs from it.

    None outside a git working tree.
    """
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs/results")
    return commit and f"{commit}-dirty" if changed else commit


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def cpu_name() -> str:
    """The processor's name, as Linux gives it, or what the platform says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def data_checksums(datalist: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a loaded datalist names, by their paths relative to ``folder``.

    A folder of slices (or a Zarr store) has one, of the lines that ``sha256sum`` prints of its files, in natural order:
    name ends in "/".
    """
    items = [item for domain in ("source", "target") for split in datalist.get(domain, {}).values() for item in split]
    files = {split_location(item[key]).file for item in items for key in ("image", "label") if key in item}
    checksums = {}
    for path in natsorted(files):
        name = Path(os.path.relpath(path, folder)).as_posix()
        checksums[f"{name}/" if path.is_dir() else name] = _folder_sha256(path) if path.is_dir() else file_sha256(path)
    return checksums


def _folder_sha256(folder: Path) -> str:
    files = natsorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str | None:
    """What git prints, or None where it is not installed or this is no working tree."""
    try:
        process = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()
