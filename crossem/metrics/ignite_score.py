"""The confusion-matrix scores as an ignite metric, for MONAI's evaluators."""

from collections.abc import Sequence
from typing import Any

import torch

from crossem.metrics.confusion import confusion_matrix
from crossem.metrics.scores import SegmentationScores
from crossem.metrics.volume_score import VolumeScore


class ConfusionScore(VolumeScore):
    """Mean foreground IoU over all validation volumes together; use it as `key_val_metric`.

    Voxels of all volumes go into one confusion matrix (so a large volume counts more than a small one). On
    completion every score of :class:`SegmentationScores` is in `engine.state.metrics` as well, under the
    names of its `as_dict`.

    Args:
        class_names: one name a class, the background first.
        include_background: whether class 0 enters the means.
        more: arguments of :class:`VolumeScore`.
    """

    def __init__(self, class_names: Sequence[str], include_background: bool = False, **more: Any) -> None:
        self.include_background = include_background
        super().__init__(class_names, **more)

    def reset(self) -> None:
        """Start a new epoch with no voxels counted."""
        classes = len(self.class_names)
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def count(self, pred: torch.Tensor, label: torch.Tensor) -> None:
        """Add the voxels of one volume."""
        self._confusion += confusion_matrix(pred, label, len(self.class_names))

    def scores(self) -> SegmentationScores:
        """All scores of the voxels counted so far."""
        return SegmentationScores.from_confusion(self._confusion, self.class_names, self.include_background)

    def compute(self) -> float:
        """Mean IoU over the classes that count; nan when none of them occurs."""
        return self.scores().mean_iou

    def as_dict(self) -> dict[str, float]:
        """All scores of the voxels counted so far, by name."""
        return self.scores().as_dict()
