"""The composed augmentation: what jitter adds to it, and what it leaves alone."""

import pytest
import torch

from crossem.errors import InputError
from crossem.transforms import em_augmentation


def patch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, 48, 48, generator=generator).expand(1, 8, 48, 48)
    label = (torch.rand(1, 1, 48, 48, generator=generator) < 0.2).to(torch.uint8).expand(1, 8, 48, 48)
    return {"image": image, "label": label}


def augmented(seed, **options):
    return em_augmentation(**options).set_random_state(seed)(patch())


def test_jitter_changes_every_slice_in_its_own_way():
    result = augmented(0, strength=0, jitter=1)
    means, spreads = (getattr(result["image"], name)(dim=(0, 2, 3)) for name in ("mean", "std"))
    assert means.std() > 0.1 and spreads.std() > 0.05
    still = augmented(0, strength=0)
    assert torch.equal(result["label"], still["label"])
    assert (still["image"] == still["image"][:, :1]).all()


def test_without_jitter_the_augmentation_is_what_it_was():
    """Another transform at the end takes nothing from the random numbers of those before."""
    for seed in range(5):
        plain, jittered = augmented(seed), augmented(seed, jitter=1e-9)
        assert all(torch.equal(plain[key], jittered[key]) for key in plain)


@pytest.mark.parametrize("options", [{"jitter": -0.1}, {"jitter": 1.1}])
def test_a_jitter_that_is_no_probability(options):
    with pytest.raises(InputError, match="jitter is"):
        em_augmentation(**options)
