"""The scores against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from crossem import InputError
from crossem.metrics import SegmentationScores, confusion_matrix


@pytest.mark.parametrize("include_background", [False, True])
def test_scores_match_sklearn(include_background):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 5000)
    prediction = np.where(rng.random(5000) < 0.6, truth, rng.integers(0, 3, 5000))
    scores = SegmentationScores.from_confusion(
        confusion_matrix(prediction, truth, 3), ["background", "mito", "glia"], include_background
    )
    references = {
        "iou": jaccard_score,
        "dice": f1_score,
        "precision": precision_score,
        "recall": recall_score,
    }
    for name, reference in references.items():
        per_class = reference(truth, prediction, average=None)
        np.testing.assert_allclose(getattr(scores, name), per_class)
        mean = per_class.mean() if include_background else per_class[1:].mean()
        assert getattr(scores, f"mean_{name}") == pytest.approx(mean)
    assert scores.as_dict()["recall_mito"] == scores.recall[1]
    assert len(scores.as_dict()) == 4 * 3 + 4


def test_absent_class_is_nan_and_leaves_the_mean():
    truth, prediction = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    scores = SegmentationScores.from_confusion(confusion_matrix(prediction, truth, 3))
    assert math.isnan(scores.iou[2]) and math.isnan(scores.recall[2])
    assert scores.mean_iou == scores.iou[1] == pytest.approx(2 / 3)


def test_missed_class_counts_as_zero_iou_with_undefined_precision():
    scores = SegmentationScores.from_confusion(confusion_matrix(np.zeros(4), np.array([0, 0, 1, 1]), 2))
    assert scores.iou[1] == 0 and scores.recall[1] == 0 and math.isnan(scores.precision[1])


def test_nothing_but_background_has_no_mean():
    scores = SegmentationScores.from_confusion(np.array([[7, 0], [0, 0]]))
    assert math.isnan(scores.mean_iou) and scores.iou[0] == 1


def test_wrong_inputs_are_named():
    with pytest.raises(InputError, match="is not \\(classes"):
        SegmentationScores.from_confusion(np.zeros((2, 3)))
    with pytest.raises(InputError, match="3 class names"):
        SegmentationScores.from_confusion(np.zeros((2, 2)), ["a", "b", "c"])
