"""A generator applied to whole volumes."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from crossem.networks import SliceGenerator
from crossem.transforms import TranslateSlicesd, translate_slices


class Halved(nn.Module):
    """A translation that is known for every pixel; notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(-0.5))
        self.shapes = set()

    def forward(self, x):
        self.shapes.add(tuple(x.shape))
        return self.weight * x


def test_every_slice_is_the_generators_output():
    generator = SliceGenerator(8, 1)
    volume = torch.randn(1, 3, 24, 32)
    expected = torch.stack([generator(s[None, None])[0, 0] for s in volume[0]])[None]
    assert torch.allclose(translate_slices(volume, generator), expected.detach(), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 37, 53), (1, 1, 5, 9), (1, 2, 8, 700)])
def test_slices_of_any_size_keep_their_grid(shape):
    volume, generator = torch.randn(shape), Halved()
    assert torch.allclose(translate_slices(volume, generator), -0.5 * volume, atol=1e-6)
    assert all(n <= 512 for seen in generator.shapes for n in seen[2:])
    result = translate_slices(volume, SliceGenerator(4, 1))
    assert result.shape == volume.shape and torch.isfinite(result).all()


def test_the_transform_keeps_the_metadata_and_the_label():
    affine = torch.diag(torch.tensor([9.5, 9.5, 45.0, 1.0]))
    image = MetaTensor(torch.randn(1, 2, 12, 16), affine=affine, meta={"filename_or_obj": "a.nii"})
    label = torch.ones(1, 2, 12, 16, dtype=torch.uint8)
    result = TranslateSlicesd("image", Halved())({"image": image, "label": label})
    assert np.allclose(result["image"].affine, affine) and result["image"].meta["filename_or_obj"] == "a.nii"
    assert torch.equal(result["label"], label) and not result["image"].requires_grad
    assert torch.allclose(result["image"].as_tensor(), -0.5 * image.as_tensor())
