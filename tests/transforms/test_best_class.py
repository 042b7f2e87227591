"""Classes are numpy's argmax, also of equals; metadata stays."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.transforms import BestClassd


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_the_class_of_the_largest_probability(classes):
    values = np.random.default_rng(0).integers(0, 3, (classes, 5, 30, 40)).astype(np.float32)  # with many equals
    volume = MetaTensor(torch.from_numpy(values), affine=torch.diag(torch.tensor([40.0, 5.0, 5.0, 1.0])))
    out = BestClassd("pred")({"pred": volume, "image": 1})
    assert np.array_equal(out["pred"].numpy(), values.argmax(0)[None]) and out["image"] == 1
    assert out["pred"].dtype == torch.uint8 and torch.equal(out["pred"].affine, volume.affine)
    assert np.array_equal(volume.numpy(), values)
