"""The composed augmentation: what jitter, appearance and the plain copy add to it, and what they leave alone."""

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


def test_appearance_changes_intensities_alone():
    changed = 0
    for seed in range(5):
        still, result = augmented(seed, strength=0), augmented(seed, strength=0, appearance=1.4)
        assert torch.equal(result["label"], still["label"])
        changed += not torch.equal(result["image"], still["image"])
    assert changed >= 4


def test_the_plain_copy_has_the_changes_of_form_and_no_others():
    pattern = patch()["label"].float()
    for seed in range(5):
        options = {"strength": 1.5, "appearance": 1.0, "jitter": 1.0}
        result = em_augmentation(plain_copy=True, **options).set_random_state(seed)(
            {"image": pattern.clone(), "label": patch()["label"]}
        )
        # what was 0 or 1 stays within, and follows the label but where an interpolation went through an edge
        assert 0 <= result["plain"].min() and result["plain"].max() <= 1
        nearest = (result["plain"] > 0.5) == (result["label"] > 0)
        assert nearest.float().mean() > 0.9
        assert not torch.equal(result["plain"], result["image"])
    assert torch.equal(augmented(3, strength=0)["image"], augmented(3, strength=0, plain_copy=True)["plain"])


def test_the_plain_copy_takes_nothing_from_the_random_numbers():
    for seed in range(5):
        without, with_copy = augmented(seed, appearance=1.0), augmented(seed, appearance=1.0, plain_copy=True)
        assert with_copy.keys() - without.keys() == {"plain"}
        assert all(torch.equal(without[key], with_copy[key]) for key in without)


@pytest.mark.parametrize("appearance", [-0.1, 1.5, "strong"])
def test_an_appearance_out_of_range(appearance):
    with pytest.raises(InputError, match="appearance_strength is .*: give a number, from 0 to 1.4"):
        em_augmentation(appearance=appearance)
