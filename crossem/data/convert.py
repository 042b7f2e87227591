"""Make class-index label volumes from a dataset's annotations, each written once beside the data."""

import gzip
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import torch
from monai.data import MetaTensor

from crossem.data.layout import present_layout
from crossem.data.manifest import DERIVED_FOLDER
from crossem.data.registry import Dataset, LabelSpec, Part
from crossem.errors import InputError
from crossem.io import read_volume, write_volume
from crossem.transforms.labels import boundaries_from_instances, map_labels


def label_path(part: Part, label: str) -> str:
    """Path of a converted label of `part`, relative to the dataset's folder."""
    return f"{DERIVED_FOLDER}/{part.name}_{label}.ome.tif"


def convert_dataset(dataset: Dataset, folder: Path) -> list[Path]:
    """Convert every label of `dataset` whose annotation is in `folder`; gives the files, new or up to date.

    Raises InputError when an annotation has another shape, value or foreground share than the registry says.
    """
    written = []
    for volume in dataset.volumes.values():
        for part in present_layout(volume, folder) or []:
            shape_zyx = part.shape_zyx or volume.shape_zyx
            for name, spec in dataset.labels.items():
                if spec.convert is not None and spec.annotation in part.annotations:
                    annotation = folder / part.annotations[spec.annotation]
                    output = folder / label_path(part, name)
                    if not _is_newer(output, annotation):
                        _convert(spec, annotation, output, dataset.voxel_size_zyx_nm, shape_zyx)
                    written.append(output)
    return written


def bodies_from_supervoxels(supervoxels: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Neuron body of each voxel: `supervoxels` (any shape) looked up in `pairs` (N, 2) of (supervoxel, body).

    Bodies are uint32; 0, the background, needs no pair. Raises InputError for another supervoxel without one.
    """
    keys, bodies = pairs[np.argsort(pairs[:, 0])].T
    index = np.searchsorted(keys, supervoxels).clip(max=len(keys) - 1)
    known = keys[index] == supervoxels
    missing = np.unique(supervoxels[~known & (supervoxels != 0)])
    if missing.size:
        raise InputError(f"{missing.size} supervoxels have no neuron body (first: {missing[0]}); the file is damaged")
    return np.where(known, bodies.astype(np.uint32)[index], np.uint32(0))


def _convert(
    spec: LabelSpec,
    annotation: Path,
    output: Path,
    voxel_size_zyx_nm: tuple[float, ...],
    shape_zyx: tuple[int, ...],
) -> None:
    if spec.convert in ("foreground", "values"):
        volume = read_volume(str(annotation), voxel_size_zyx_nm=voxel_size_zyx_nm)
        array = _single_channel(volume, annotation)
        # foreground: a mask of 255 and instance ids alike become 1
        classes = (
            (array > 0).astype(np.uint8)
            if spec.convert == "foreground"
            else map_labels(array, spec.values, name=str(annotation))
        )
    else:
        volume, classes = _read_bodies(annotation, voxel_size_zyx_nm)
        if spec.convert == "supervoxel_boundaries":
            classes = boundaries_from_instances(classes, spec.boundary_pixels)
    if classes.shape != tuple(shape_zyx):
        raise InputError(f"{annotation}: shape {classes.shape} (z, y, x), expected {tuple(shape_zyx)}; get it again")
    _check_share(spec, classes, annotation)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_volume(str(output), MetaTensor(torch.from_numpy(classes)[None], affine=volume.affine))


def _read_bodies(archive: Path, voxel_size_zyx_nm: tuple[float, ...]) -> tuple[MetaTensor, np.ndarray]:
    path = archive
    if archive.suffix == ".gz":
        path = archive.parent / DERIVED_FOLDER / archive.stem
        if not _is_newer(path, archive):
            _gunzip(archive, path)
    volume = read_volume(f"{path}:/stack", voxel_size_zyx_nm=voxel_size_zyx_nm)
    with h5py.File(path, "r") as file:
        pairs = file["transforms"][:]
    return volume, bodies_from_supervoxels(_single_channel(volume, path), pairs)


def _gunzip(archive: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".tmp")
    try:
        with gzip.open(archive, "rb") as reader, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
    except (OSError, EOFError) as err:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{archive}: not a whole gzip file ({err}); delete it and get it again") from err
    os.replace(temporary, output)


def _single_channel(volume: MetaTensor, path: Path) -> np.ndarray:
    if volume.shape[0] != 1:
        raise InputError(f"{path}: annotation has {volume.shape[0]} channels, expected 1 grey value a voxel")
    return volume.as_tensor()[0].numpy()


def _check_share(spec: LabelSpec, classes: np.ndarray, path: Path) -> None:
    if spec.expected_foreground is None:
        return
    low, high = spec.expected_foreground
    share = float(np.mean(classes == 1))
    if not low <= share <= high:
        raise InputError(
            f"{path}: {share:.1%} of the voxels are {spec.classes[1]!r}, expected {low:.0%} to {high:.0%}; "
            "the annotation is inverted or another file"
        )


def _is_newer(output: Path, source: Path) -> bool:
    """True when `output` exists and was written after `source` (a file or a folder of slices)."""
    inputs = [source, *source.iterdir()] if source.is_dir() else [source]
    return output.exists() and output.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in inputs)
