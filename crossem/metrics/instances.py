"""How many objects of one class were found: precision, recall and F1 of matched connected components."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import torch

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.metrics.confusion import IGNORED_LABEL, Labels

_CONNECTIVITY = 26  # faces, edges and corners: a thin object that runs obliquely stays one


@dataclass(frozen=True)
class InstanceScores:
    """Objects that are true, found, and matched to one another; those of several volumes add up.

    Attributes:
        true: objects of the truth.
        found: objects of the prediction.
        matched: pairs of one of each that are the same object.
    """

    true: int = 0
    found: int = 0
    matched: int = 0

    def __add__(self, other: InstanceScores) -> InstanceScores:
        return InstanceScores(self.true + other.true, self.found + other.found, self.matched + other.matched)

    @property
    def precision(self) -> float:
        """Share of the found objects that are true; nan when none was found."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true objects that were found; nan when there is none."""
        return self.matched / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """2 matched / (true + found), 0..1; nan when there is no object in either."""
        return 2 * self.matched / (self.true + self.found) if self.true + self.found else float("nan")


def instance_scores(prediction: Labels, truth: Labels, iou_threshold: float = 0.5) -> InstanceScores:
    """Count the objects of a binary segmentation that are found.

    Objects are the 26-connected components of either volume, so true objects that touch in a semantic label
    are one. A true and a found object match when their IoU is *above* `iou_threshold`. Above 0.5 an object
    has one match at most, because both its partners would need more than half of it (Kirillov et al.,
    Panoptic Segmentation, CVPR 2019); hence no assignment problem, and hence a pair with an IoU of exactly
    0.5 does not match. The F1 of matched objects is the usual score of instance segmentation in microscopy
    (Caicedo et al., Nature Methods 16, 1247-1253, 2019; Schmidt et al., StarDist, MICCAI 2018).

    No object is too small to count, on either side: a speck of the prediction is a false object, which
    somebody would have to delete. Unlabelled voxels belong to no object of either volume, and so cut objects of
    both.

    Args:
        prediction: (Z, Y, X), non-zero in the objects.
        truth: the same shape, non-zero in the objects; ``IGNORED_LABEL`` (255) marks unlabelled voxels.
        iou_threshold: 0.5 or more, below 1.

    Raises:
        InputError: volumes that are not 3D or differ in shape, or a threshold out of range.
    """
    if checked_number("iou_threshold", iou_threshold, 0.5, 1.0) == 1:
        raise InputError("iou_threshold is 1: no IoU is above that, give a number below 1")
    prediction, truth = (torch.as_tensor(volume).cpu().numpy() for volume in (prediction, truth))
    if prediction.shape != truth.shape or truth.ndim != 3:
        shapes = f"prediction {prediction.shape}, truth {truth.shape}"
        raise InputError(f"shapes are {shapes}: give two (Z, Y, X) volumes on the same grid")
    labelled = truth != IGNORED_LABEL
    true, true_sizes = _components((truth != 0) & labelled)
    found, found_sizes = _components((prediction != 0) & labelled)
    iou = _overlap_ious(true, true_sizes, found, found_sizes)
    return InstanceScores(len(true_sizes) - 1, len(found_sizes) - 1, int((iou > iou_threshold).sum()))


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids 1..n of the components (0 elsewhere), and the number of voxels of each id (that of id 0 is 0)."""
    ids, count = cc3d.connected_components(mask, connectivity=_CONNECTIVITY, return_N=True)
    return ids, np.bincount(ids[mask], minlength=count + 1)


def _overlap_ious(true: np.ndarray, true_sizes: np.ndarray, found: np.ndarray, found_sizes: np.ndarray) -> np.ndarray:
    """IoU of every pair of a true and a found object that share a voxel."""
    both = (true > 0) & (found > 0)
    pairs = true[both].astype(np.int64) * len(found_sizes) + found[both]
    pairs, shared = np.unique(pairs, return_counts=True)
    i, j = np.divmod(pairs, len(found_sizes))
    return shared / (true_sizes[i] + found_sizes[j] - shared)
