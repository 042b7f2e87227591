"""A synthetic pair of domains, written as real files, so that everything runs on a fresh clone, offline."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crossem.data.phantom_render import SECTION_SAMPLES, render_source, render_target
from crossem.data.phantom_tissue import Tissue, generate_tissue
from crossem.errors import InputError
from crossem.io import check_output_folder, write_volume

Size = Literal["default", "small"]
Labels = Literal["mitochondria", "classes4", "boundaries"]
Shape = tuple[int, int, int]

CLASSES = ("background", "mitochondria")
CLASSES4 = ("boundary", "cytoplasm", "mitochondria", "glia")
BOUNDARY_CLASSES = ("background", "boundary")
SOURCE_VOXEL_ZYX_NM = (10.0, 10.0, 10.0)
TARGET_VOXEL_ZYX_NM = (48.0, 8.0, 8.0)
_TARGET_MITOCHONDRIA_SCALE = 1.2  # object size is part of the gap between the domains
_VERSION = 4  # raise it when the same seed gives other files
_STAMP = "phantom.json"
_DATALISTS: dict[str, tuple[str, str, tuple[str, ...]]] = {  # file, volume that is the label, classes
    "mitochondria": ("datalist.json", "label", CLASSES),
    "classes4": ("datalist_classes4.json", "classes4", CLASSES4),
    "boundaries": ("datalist_boundaries.json", "boundaries", BOUNDARY_CLASSES),
}


@dataclass(frozen=True)
class _Volume:
    domain: Literal["source", "target"]
    split: Literal["training", "validation", "test"]
    shape_zyx: Shape


_SIZES: dict[str, tuple[_Volume, ...]] = {
    "default": (
        _Volume("source", "training", (160, 256, 256)),
        _Volume("source", "validation", (96, 192, 192)),
        _Volume("target", "training", (24, 256, 256)),
        _Volume("target", "validation", (24, 256, 256)),
        _Volume("target", "test", (24, 192, 320)),
    ),
    "small": (
        _Volume("source", "training", (64, 128, 128)),
        _Volume("source", "validation", (48, 96, 96)),
        _Volume("target", "training", (12, 128, 128)),
        _Volume("target", "validation", (12, 128, 128)),
        _Volume("target", "test", (12, 96, 160)),
    ),
}


def make_phantom(folder: str | Path, seed: int = 0, size: Size = "default", labels: Labels = "mitochondria") -> Path:
    """Write the phantom into `folder`, or find it there, and return the path of one of its datalists.

    The source is isotropic FIB-SEM-like (10 nm, NIfTI), the target anisotropic ssTEM-like (48 x 8 x 8 nm,
    OME-TIFF). Each volume `<domain>/<split>/` has `image`, `label` (mitochondria), `classes4` (see
    `CLASSES4`), `boundaries`, `instances` (cell ids) and `mitochondria` (ids). `datalist.json` names images
    and labels, `datalist_classes4.json` images and `classes4`, `datalist_boundaries.json` images and
    `boundaries`.

    The folder appears whole or not at all, also when several processes make it at once. A phantom of the same
    seed and size is reused.

    Args:
        folder: made if it is not there; else empty or a phantom.
        seed: the same seed gives the same files.
        size: "default", or "small" for tests.
        labels: what the datalist returned is for: "mitochondria", "classes4" or "boundaries".

    Raises:
        InputError: unknown size or labels, or the folder holds something else or cannot be made.
    """
    if size not in _SIZES:
        raise InputError(f'size is "{size}"; give one of {", ".join(_SIZES)}')
    if labels not in _DATALISTS:
        raise InputError(f'labels is "{labels}"; give one of {", ".join(_DATALISTS)}')
    folder = Path(folder).absolute()
    stamp = {"version": _VERSION, "seed": seed, "size": size}
    if not _is_there(folder, stamp):
        check_output_folder(folder.parent)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            building.chmod(0o755)  # mkdtemp makes a private folder
            _write_phantom(building, stamp)
            _move(building, folder, stamp)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder / _DATALISTS[labels][0]


def make_volume(domain: str, shape_zyx: Shape, rng: np.random.Generator) -> tuple[np.ndarray, Tissue]:
    """One volume of a domain: the uint8 image (Z, Y, X) and what is where on the same grid.

    Raises InputError when the domain is neither "source" nor "target".
    """
    if domain == "source":
        tissue = generate_tissue(shape_zyx, SOURCE_VOXEL_ZYX_NM, rng)
        return render_source(tissue, rng), tissue
    if domain != "target":
        raise InputError(f'domain is "{domain}"; give "source" or "target"')
    sections, *in_plane = shape_zyx
    thickness, *pixel = TARGET_VOXEL_ZYX_NM
    tissue = generate_tissue(
        (sections * SECTION_SAMPLES, *in_plane),
        (thickness / SECTION_SAMPLES, *pixel),
        rng,
        mitochondria_scale=_TARGET_MITOCHONDRIA_SCALE,
    )
    return render_target(tissue, rng)


def _is_there(folder: Path, stamp: dict[str, Any]) -> bool:
    """Whether the folder holds this very phantom; an error when it holds anything but an older version of it."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / _STAMP).read_text())
    except (OSError, ValueError):
        raise InputError(f"{folder} is in use and holds no phantom; give another folder") from None
    if found != stamp and found | {"version": stamp["version"]} == stamp:
        shutil.rmtree(folder)  # made by another version of this program, for the same purpose
        return False
    if found != stamp:
        raise InputError(f"{folder} holds another phantom, {found}; remove it or give another folder")
    return True


def _move(building: Path, folder: Path, stamp: dict[str, Any]) -> None:
    """Give the finished folder its name; another process may have been faster."""
    try:
        building.rename(folder)
    except OSError:
        if not _is_there(folder, stamp):
            raise


def _write_phantom(folder: Path, stamp: dict[str, Any]) -> None:
    volumes = _SIZES[stamp["size"]]
    seeds = np.random.SeedSequence(stamp["seed"]).spawn(len(volumes))
    files = [_write_volume_files(folder, v, s) for v, s in zip(volumes, seeds, strict=True)]
    for name, label, classes in _DATALISTS.values():
        datalist: dict[str, Any] = {"name": "phantom", "classes": list(classes), "source": {}, "target": {}}
        for volume, paths in zip(volumes, files, strict=True):
            voxel_size = SOURCE_VOXEL_ZYX_NM if volume.domain == "source" else TARGET_VOXEL_ZYX_NM
            item = {"image": paths["image"], "label": paths[label], "voxel_size_zyx_nm": list(voxel_size)}
            datalist[volume.domain][volume.split] = [item]
        (folder / name).write_text(json.dumps(datalist, indent=2) + "\n")
    (folder / _STAMP).write_text(json.dumps(stamp) + "\n")


def _write_volume_files(folder: Path, volume: _Volume, seed: np.random.SeedSequence) -> dict[str, str]:
    """Paths, relative to the phantom's folder, of one volume's files."""
    image, tissue = make_volume(volume.domain, volume.shape_zyx, np.random.default_rng(seed))
    arrays = {
        "image": image,
        "label": (tissue.mitochondria > 0).astype(np.uint8),
        "classes4": tissue.classes4,
        "boundaries": tissue.boundaries,
        "instances": tissue.cells,
        "mitochondria": tissue.mitochondria,
    }
    suffix = ".nii" if volume.domain == "source" else ".ome.tif"
    (folder / volume.domain / volume.split).mkdir(parents=True)
    paths = {name: f"{volume.domain}/{volume.split}/{name}{suffix}" for name in arrays}
    for name, array in arrays.items():
        write_volume(folder / paths[name], array[None], tissue.voxel_size_zyx_nm)
    return paths
