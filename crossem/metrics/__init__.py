"""Scores of segmentations, computed from whole-volume confusion matrices."""

from crossem.metrics.confusion import IGNORED_LABEL, confusion_matrix
from crossem.metrics.ignite_score import ConfusionScore
from crossem.metrics.scores import SegmentationScores

__all__ = ["IGNORED_LABEL", "ConfusionScore", "SegmentationScores", "confusion_matrix"]
