"""Scores of segmentations: of voxels by confusion matrices, of objects, and of the regions that boundaries enclose."""

from crossem.metrics.confusion import IGNORED_LABEL, confusion_matrix
from crossem.metrics.ignite_score import ConfusionScore
from crossem.metrics.instances import InstanceScores, instance_scores
from crossem.metrics.object_scores import InstanceScore, PartitionScore, object_scores
from crossem.metrics.partition import PartitionScores, partition_tables, predicted_regions
from crossem.metrics.scores import SegmentationScores

__all__ = [
    "IGNORED_LABEL",
    "ConfusionScore",
    "InstanceScore",
    "InstanceScores",
    "PartitionScore",
    "PartitionScores",
    "SegmentationScores",
    "confusion_matrix",
    "instance_scores",
    "object_scores",
    "partition_tables",
    "predicted_regions",
]
