"""The confusion matrix against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion

from crossem import InputError
from crossem.metrics import confusion, confusion_matrix


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, (5, 33, 47), dtype=np.uint8), rng.integers(0, 4, (5, 33, 47), dtype=np.uint8)


def test_matches_sklearn_over_several_chunks(pair, monkeypatch):
    monkeypatch.setattr(confusion, "_CHUNK_VOXELS", 1000)
    prediction, truth = pair
    ours = confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(truth), 4)
    assert ours.dtype == torch.int64
    np.testing.assert_array_equal(ours, sklearn_confusion(truth.ravel(), prediction.ravel()))


def test_float_class_indices_and_numpy_are_accepted(pair):
    prediction, truth = pair
    ours = confusion_matrix(prediction.astype(np.float32), truth, 4)
    np.testing.assert_array_equal(ours, sklearn_confusion(truth.ravel(), prediction.ravel()))


def test_mask_and_unlabelled_voxels_do_not_count(pair):
    prediction, truth = pair
    truth[0] = 255
    mask = np.random.default_rng(1).random(truth.shape) > 0.3
    counted = mask & (truth != 255)
    expected = sklearn_confusion(truth[counted], prediction[counted])
    np.testing.assert_array_equal(confusion_matrix(prediction, truth, 4, mask), expected)
    np.testing.assert_array_equal(confusion_matrix(prediction, truth, 4, mask * np.float32(0.2)), expected)


def test_all_voxels_masked_gives_zeros(pair):
    assert confusion_matrix(*pair, 4, np.zeros_like(pair[0])).sum() == 0


def test_wrong_inputs_are_named(pair):
    prediction, truth = pair
    with pytest.raises(InputError, match="truth holds the value 3"):
        confusion_matrix(np.zeros_like(truth), truth, 3)
    with pytest.raises(InputError, match=r"prediction holds the value 0\.5"):
        confusion_matrix(torch.full(truth.shape, 0.5), truth, 4)
    with pytest.raises(InputError, match="shapes differ"):
        confusion_matrix(prediction[1:], truth, 4)
    with pytest.raises(InputError, match="num_classes is 0"):
        confusion_matrix(prediction, truth, 0)
