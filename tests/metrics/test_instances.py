"""The objects found, against loops over scipy's components."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label

from crossem import InputError
from crossem.metrics import InstanceScores, instance_scores


def blobs():
    """Two volumes of some objects each, of which some are much the same."""
    first, second = (gaussian_filter(np.random.default_rng(s).normal(size=(12, 40, 44)), 1.8) for s in (0, 1))
    return first > 0.08, first + 0.4 * second > 0.08


def by_loops(prediction, truth, threshold):
    labelled = truth != 255
    true, true_count = label((truth == 1) & labelled, np.ones((3, 3, 3)))
    found, found_count = label(prediction & labelled, np.ones((3, 3, 3)))
    matched = 0
    for i in range(1, true_count + 1):
        for j in range(1, found_count + 1):
            a, b = true == i, found == j
            matched += (a & b).sum() / (a | b).sum() > threshold
    return InstanceScores(true_count, found_count, matched)


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_matches_loops_over_all_pairs(threshold):
    first, second = blobs()
    truth = first.astype(np.uint8)
    truth[:, :7] = 255
    ours = instance_scores(second, truth, threshold)
    assert ours == by_loops(second, truth, threshold)
    assert 0 < ours.matched < min(ours.true, ours.found)


def test_a_case_counted_by_hand():
    """Of three true objects one is found whole, one is missed, one is split; and there is a false speck."""
    truth, prediction = np.zeros((2, 3, 4, 20), dtype=np.uint8)
    truth[:, :, 0:4] = truth[:, :, 6:9] = truth[:, :, 11:20] = 1
    prediction[:, :, 0:3] = prediction[:, :, 11:15] = prediction[:, :, 16:20] = 1
    prediction[1, 1, 9] = 0
    truth[0, 0, 10] = 0
    prediction[0, 0, 5] = 1
    scores = instance_scores(torch.from_numpy(prediction), torch.from_numpy(truth))
    assert scores == InstanceScores(true=3, found=4, matched=1)
    assert (scores.precision, scores.recall) == (1 / 4, 1 / 3)
    assert scores.f1 == pytest.approx(2 / (4 + 3))


def test_exactly_half_is_no_match():
    truth, prediction = np.zeros((2, 1, 1, 9), dtype=np.uint8)
    truth[..., :4] = 1
    prediction[..., :2] = 1
    assert instance_scores(prediction, truth).matched == 0
    prediction[..., 2] = 1
    assert instance_scores(prediction, truth).matched == 1


def test_objects_that_touch_at_a_corner_are_one():
    truth = np.zeros((2, 2, 2), dtype=np.uint8)
    truth[0, 0, 0] = truth[1, 1, 1] = 1
    assert instance_scores(truth, truth) == InstanceScores(1, 1, 1)


def test_unlabelled_voxels_are_in_no_object():
    truth, prediction = np.zeros((2, 1, 4, 9), dtype=np.uint8)
    truth[..., 0:2], truth[..., 4:] = 1, 255
    prediction[..., 0:2] = prediction[..., 6:8] = 1
    assert instance_scores(prediction, truth) == InstanceScores(1, 1, 1)


def test_scores_of_nothing_are_nan_and_counts_add_up():
    empty = np.zeros((2, 3, 4), dtype=np.uint8)
    scores = instance_scores(empty, empty)
    assert all(math.isnan(value) for value in (scores.f1, scores.precision, scores.recall))
    missed = instance_scores(empty, empty + 1)
    assert missed.f1 == missed.recall == 0 and math.isnan(missed.precision)
    assert missed + InstanceScores(2, 3, 1) == InstanceScores(3, 3, 1)


def test_wrong_inputs_are_named():
    volume = np.zeros((2, 3, 4), dtype=np.uint8)
    with pytest.raises(InputError, match=r"prediction \(1, 3, 4\), truth \(2, 3, 4\)"):
        instance_scores(volume[1:], volume)
    with pytest.raises(InputError, match="give two"):
        instance_scores(volume[0], volume[0])
    for threshold in (0.4, 1):
        with pytest.raises(InputError, match="iou_threshold is"):
            instance_scores(volume, volume, threshold)
