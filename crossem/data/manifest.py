"""The record, beside a dataset, of where each of its files came from and what it was then."""

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from crossem.data._validation import read_json, validated

DERIVED_FOLDER = "crossem"
Origin = Literal["downloaded", "copied", "found"]


class ManifestEntry(BaseModel):
    """A file as it was when it was taken."""

    origin: Origin
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Entries by path, relative to the dataset's folder."""

    files: dict[str, ManifestEntry] = {}


def manifest_path(folder: Path) -> Path:
    """Where the record of the dataset in `folder` is."""
    return folder / DERIVED_FOLDER / "manifest.json"


def load_manifest(folder: Path) -> Manifest:
    """The record of the dataset in `folder`; empty when there is none. InputError when it is damaged."""
    path = manifest_path(folder)
    if not path.exists():
        return Manifest()
    return validated(Manifest, read_json(path, "manifest"), f"manifest {path} (delete it and get the data again)")


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the record, whole or not at all."""
    path = manifest_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(manifest.model_dump(), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
