"""The confusion-matrix scores as an ignite metric, for MONAI's evaluators."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.handlers import from_engine

from crossem.errors import InputError
from crossem.metrics.confusion import confusion_matrix
from crossem.metrics.scores import SegmentationScores

_PRED_AND_LABEL = from_engine(["pred", "label"])


class ConfusionScore(Metric):
    """Mean foreground IoU over all validation volumes together; use it as `key_val_metric`.

    Voxels of all volumes go into one confusion matrix (so a large volume counts more than a small one). On
    completion every score of :class:`SegmentationScores` is put in `engine.state.metrics` as well, under the
    names of its `as_dict`. In a distributed run every process validates the same volumes, so nothing is reduced.

    Args:
        class_names: one name a class, the background first.
        include_background: whether class 0 enters the means.
        output_transform: makes `(pred, label)` of `engine.state.output`, each a list of channel-first
            volumes: (1, Z, Y, X) class indices, or (classes, Z, Y, X) probabilities or one-hot. A voxel of
            label 255 is unlabelled and does not count.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        include_background: bool = False,
        output_transform: Callable[[Any], Any] = _PRED_AND_LABEL,
    ) -> None:
        if len(class_names) < 2:
            raise InputError(f"class_names is {list(class_names)}; give the background and one class or more")
        self.class_names = tuple(class_names)
        self.include_background = include_background
        super().__init__(output_transform=output_transform, skip_unrolling=True)

    def reset(self) -> None:
        """Start a new epoch with no voxels counted."""
        classes = len(self.class_names)
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, output: Sequence[Any]) -> None:
        """Count one volume `(pred, label)`, or lists or batches of them.

        Raises:
            InputError: a volume has neither one channel nor one a class, or the shapes differ.
        """
        if not isinstance(output[0], torch.Tensor) or output[0].ndim == 5:
            for volumes in zip(*output, strict=True):
                self.update(volumes)
            return
        pred, label = output
        classes = len(self.class_names)
        self._confusion += confusion_matrix(self._class_map(pred, "pred"), self._class_map(label, "label"), classes)

    def scores(self) -> SegmentationScores:
        """All scores of the voxels counted so far."""
        return SegmentationScores.from_confusion(self._confusion, self.class_names, self.include_background)

    def compute(self) -> float:
        """Mean IoU over the classes that count; nan when none of them occurs."""
        return self.scores().mean_iou

    def completed(self, engine: Engine, name: str) -> None:
        """Store the key metric under `name`, and all scores under their own names."""
        super().completed(engine, name)
        engine.state.metrics.update(self.scores().as_dict())

    def _class_map(self, volume: torch.Tensor, name: str) -> torch.Tensor:
        """(1, Z, Y, X) class indices of a channel-first volume."""
        volume = volume.detach()
        if volume.shape[0] == 1:
            return volume
        if volume.shape[0] == len(self.class_names):
            return volume.argmax(dim=0, keepdim=True)
        raise InputError(
            f"{name} has shape {tuple(volume.shape)}; its first axis must be 1 (class indices) "
            f"or {len(self.class_names)} (one channel a class)"
        )
