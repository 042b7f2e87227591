"""Scores per class and their means, from a confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from crossem.errors import InputError

METRICS = ("iou", "dice", "precision", "recall")


@dataclass(frozen=True)
class SegmentationScores:
    """IoU (Jaccard), Dice (F1), precision and recall of each class, each 0..1.

    With TP, FP and FN the voxels found, falsely found and missed of a class: IoU = TP / (TP + FP + FN),
    Dice = 2 TP / (2 TP + FP + FN), precision = TP / (TP + FP), recall = TP / (TP + FN), the share of the
    true voxels that was found. A score that is 0/0 is nan and left out of the means, so a class that is
    neither in the truth nor in the prediction does not count. The background (class 0) is left out of the
    means unless `include_background`.

    Attributes:
        class_names: one name a class, in index order.
        iou, dice, precision, recall: one number a class.
        include_background: whether class 0 enters the means.
    """

    class_names: tuple[str, ...]
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    include_background: bool = False

    @classmethod
    def from_confusion(
        cls,
        matrix: torch.Tensor | np.ndarray,
        class_names: Sequence[str] | None = None,
        include_background: bool = False,
    ) -> "SegmentationScores":
        """Scores from a (classes, classes) count matrix whose rows are the true classes.

        Args:
            matrix: what :func:`crossem.metrics.confusion_matrix` returns, or a sum of several.
            class_names: one a class; None names them "0", "1", ...
            include_background: whether class 0 enters the means.

        Raises:
            InputError: the matrix is not square, or the number of names differs from the number of classes.
        """
        counts = np.asarray(matrix, dtype=np.int64)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
            raise InputError(f"confusion matrix of shape {counts.shape} is not (classes, classes)")
        names = tuple(class_names) if class_names is not None else tuple(map(str, range(len(counts))))
        if len(names) != len(counts):
            raise InputError(f"{len(names)} class names {names} for {len(counts)} classes; give one each")
        hit, true, found = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        return cls(
            class_names=names,
            iou=_ratio(hit, true + found - hit),
            dice=_ratio(2 * hit, true + found),
            precision=_ratio(hit, found),
            recall=_ratio(hit, true),
            include_background=include_background,
        )

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that count."""
        return self._mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes that count."""
        return self._mean(self.dice)

    @property
    def mean_precision(self) -> float:
        """Mean precision over the classes that count."""
        return self._mean(self.precision)

    @property
    def mean_recall(self) -> float:
        """Mean recall over the classes that count."""
        return self._mean(self.recall)

    def as_dict(self) -> dict[str, float]:
        """Flat: `iou_<class>`, `dice_<class>`, `precision_<class>`, `recall_<class>`, `mean_<metric>`."""
        flat = {f"{m}_{n}": getattr(self, m)[i] for i, n in enumerate(self.class_names) for m in METRICS}
        return flat | {f"mean_{m}": getattr(self, f"mean_{m}") for m in METRICS}

    def _mean(self, values: tuple[float, ...]) -> float:
        counted = np.asarray(values if self.include_background else values[1:])
        counted = counted[~np.isnan(counted)]
        return float(counted.mean()) if counted.size else float("nan")


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, ...]:
    undefined = np.full(len(numerator), np.nan)
    return tuple(np.divide(numerator, denominator, out=undefined, where=denominator > 0).tolist())
