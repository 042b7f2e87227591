"""The data of a comparison: its datalist, facts about it, and the volumes of its pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossem.comparison.plan import LAST, Run
from crossem.comparison.provenance import data_checksums
from crossem.comparison.results import is_finished
from crossem.comparison.spec import Spec
from crossem.data import datalist_items, load_datalist, make_phantom
from crossem.errors import InputError
from crossem.io import read_volume

PHANTOMS = {"phantom": "mitochondria", "phantom_boundaries": "boundaries"}
PHANTOM_FOLDER = Path("data/phantom")
_FILES = {"image", "label"}


def find_datalist(spec: Spec) -> Path:
    """The path of a spec's datalist, relative to the working directory where it is below it; makes the phantom."""
    if spec.datalist not in PHANTOMS:
        return Path(spec.datalist)
    path = make_phantom(PHANTOM_FOLDER, labels=PHANTOMS[spec.datalist])
    return Path(os.path.relpath(path))


def data_facts(path: Path, split: str) -> dict[str, Any]:
    """What the document says about the data: datalist, its volumes, split of the target, checksums, provenance.

    Paths of volumes, with their voxel sizes and regions, are relative to the datalist's folder.

    Raises:
        InputError: when the datalist is missing or wrong, or has no labels in that split of the target.
    """
    datalist = load_datalist(path)
    try:
        datalist_items(datalist, "target", split)
    except InputError as error:
        raise InputError(f"{error} (methods are scored on the labels of target.{split} in {path})") from error
    folder = path.absolute().parent
    return {
        "datalist": path.as_posix(),
        "split": split,
        "classes": datalist["classes"],
        "volumes": {key: _relative(datalist[key], folder) for key in ("source", "target") if key in datalist},
        "sha256": data_checksums(datalist, folder),
        "provenance": datalist["provenance"],
    }


def check_labels(path: Path, runs: Iterable[Run]) -> None:
    """See that the target's training items have labels, where a run is given a fraction of them.

    Raises:
        InputError: naming the first such run.
    """
    using = [run for run in runs if run.label_fraction is not None]
    try:
        if using:
            datalist_items(load_datalist(path), "target", "training")
    except InputError as error:
        raise InputError(f"{using[0].name} needs labels of target.training: {error}") from error


def shown_volumes(
    path: Path, split: str, runs: Mapping[str, Run]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The first volume that was scored, its truth, and what runs that are finished predict, each (Z, Y, X).

    Args:
        path: of the datalist.
        split: of the target.
        runs: by the title that their prediction has (see ``shown_runs``).
    """
    item = datalist_items(load_datalist(path), "target", split)[0]
    where = item.get("voxel_size_zyx_nm"), item.get("region_zyx")
    image, truth = (read_volume(item[key], *where)[0].numpy() for key in ("image", "label"))
    finished = {title: run for title, run in runs.items() if is_finished(run)}
    return image, truth, {title: read_volume(_prediction(run))[0].numpy() for title, run in finished.items()}


def _relative(splits: Mapping[str, list[dict[str, Any]]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The splits of a domain with the paths of images and labels relative to ``folder``."""

    def relative(item: dict[str, Any]) -> dict[str, Any]:
        return item | {key: Path(os.path.relpath(item[key], folder)).as_posix() for key in _FILES & item.keys()}

    return {split: [relative(item) for item in items] for split, items in splits.items()}


def _prediction(run: Run) -> str:
    """The file of the first volume's prediction, as its evaluation names it."""
    return json.loads(run.scores_file(LAST).read_text())["predictions"][0]
