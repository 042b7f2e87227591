"""Scores of objects and regions as ignite metrics, for the evaluation of a finished network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from crossem.io import voxel_size_zyx_nm
from crossem.metrics.confusion import IGNORED_LABEL
from crossem.metrics.instances import InstanceScores, instance_scores
from crossem.metrics.partition import PartitionScores, partition_tables
from crossem.metrics.volume_score import VolumeScore

BOUNDARY = "boundary"
NO_OBJECTS = (BOUNDARY, "cytoplasm", "glia")
"""Classes that fill the tissue: their components are no countable objects."""


def object_scores(class_names: Sequence[str]) -> dict[str, VolumeScore]:
    """The scores beyond voxels that fit the classes, by the names of their key values.

    A class named "boundary" gets a :class:`PartitionScore`. Every other class but the first (the background)
    and those in `NO_OBJECTS` gets an :class:`InstanceScore`. Meant for the `additional_metrics` of an evaluation: in a
    validation during training they would take longer than the network.

    Args:
        class_names: one name a class, the background first.
    """
    names = list(class_names)
    scores: dict[str, VolumeScore] = {
        f"instance_f1_{name}": InstanceScore(names, name) for name in names[1:] if name not in NO_OBJECTS
    }
    return scores | ({"adapted_rand_error": PartitionScore(names)} if BOUNDARY in names else {})


class InstanceScore(VolumeScore):
    """F1 of the objects of one class; the objects of all volumes are counted together.

    In `engine.state.metrics`: `instance_f1_<class>`, `instance_precision_<class>`, `instance_recall_<class>`; see
    :func:`crossem.metrics.instance_scores`.

    Args:
        class_names: one name a class, the background first.
        object_class: the name of the class whose objects are counted.
        more: arguments of :class:`VolumeScore`.
    """

    def __init__(self, class_names: Sequence[str], object_class: str, **more: Any) -> None:
        super().__init__(class_names, **more)
        self.object_class = object_class
        self._index = self.class_names.index(object_class)

    def reset(self) -> None:
        """Start anew with no objects counted."""
        self._scores = InstanceScores()

    def count(self, pred: torch.Tensor, label: torch.Tensor) -> None:
        """Add the objects of one volume."""
        unlabelled = label[0] == IGNORED_LABEL
        truth = (label[0] == self._index).to(torch.uint8).masked_fill(unlabelled, IGNORED_LABEL)
        self._scores += instance_scores(pred[0] == self._index, truth)

    def compute(self) -> float:
        """F1 of the objects counted so far; nan when there are none."""
        return self._scores.f1

    def as_dict(self) -> dict[str, float]:
        """F1, precision and recall by name."""
        return {f"instance_{m}_{self.object_class}": getattr(self._scores, m) for m in ("f1", "precision", "recall")}


class PartitionScore(VolumeScore):
    """Adapted Rand error of the regions that a class named "boundary" encloses; all sections and volumes together.

    In `engine.state.metrics`: the names of :meth:`PartitionScores.as_dict`. A label has to be a MetaTensor, as
    `LoadVolumed` makes it, since its voxel size is needed.
    """

    def reset(self) -> None:
        """Start anew with no section counted."""
        self._tables = []

    def count(self, pred: torch.Tensor, label: torch.Tensor) -> None:
        """Add the sections of one volume."""
        boundary_class = self.class_names.index(BOUNDARY)
        self._tables += partition_tables(pred[0], label[0], boundary_class, voxel_size_zyx_nm(label))

    def scores(self) -> PartitionScores:
        """All scores of the sections counted so far."""
        return PartitionScores.from_tables(self._tables)

    def compute(self) -> float:
        """Adapted Rand error of the sections counted so far; nan when there are none."""
        return self.scores().adapted_rand_error

    def as_dict(self) -> dict[str, float]:
        """All scores of the sections counted so far, by name."""
        return self.scores().as_dict()
