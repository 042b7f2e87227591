"""Weights in a fixed ratio of two classes."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.transforms import RatioWeightMapd


@pytest.mark.parametrize("ratio", [2, 5, 10, 0.5])
def test_boundary_to_rest_is_the_ratio_and_the_mean_is_one(ratio):
    label = torch.from_numpy(np.random.RandomState(0).randint(0, 3, (1, 4, 9, 7)).astype(np.uint8))
    weight = RatioWeightMapd(boundary_class=1, ratio=ratio)({"label": label})["weight"].numpy()
    boundary = label.numpy() == 1
    rest = 1 / (ratio * boundary.mean() + (1 - boundary.mean()))
    np.testing.assert_allclose(weight, np.where(boundary, ratio * rest, rest), rtol=1e-5)
    assert weight.dtype == np.float32 and weight.mean() == pytest.approx(1, abs=1e-5)


def test_no_boundary_means_one_everywhere_and_metadata_is_kept():
    label = MetaTensor(torch.zeros(1, 2, 3, 4), affine=torch.diag(torch.tensor([4.0, 4.0, 50.0, 1.0])))
    weight = RatioWeightMapd()({"label": label})["weight"]
    assert torch.equal(weight.as_tensor(), torch.ones(1, 2, 3, 4))
    assert torch.equal(weight.affine, label.affine)


def test_without_a_label_nothing_happens_where_that_is_allowed():
    assert RatioWeightMapd(allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError):
        RatioWeightMapd()({"image": 1})


@pytest.mark.parametrize("ratio", [0, -1, float("nan")])
def test_a_ratio_that_is_none_is_refused(ratio):
    with pytest.raises(InputError, match="boundary_ratio is"):
        RatioWeightMapd(ratio=ratio)
