import pytest
import torch

from crossem.networks import AnisotropicUNet, DomainDiscriminator, feature_levels, plan_unet

ROI = (8, 32, 32)
PLAN = plan_unet((45, 9.5, 9.5), ROI, (4, 6, 8, 10))


@pytest.fixture(scope="module")
def features():
    return AnisotropicUNet(1, 2, PLAN).forward_features(torch.randn(2, 1, *ROI))[1]


def test_levels_are_those_of_the_network(features):
    assert list(feature_levels(PLAN)) == [
        "encoder_0", "encoder_1", "encoder_2", "encoder_3", "decoder_2", "decoder_1", "decoder_0",
    ]  # fmt: skip
    assert feature_levels(PLAN).keys() == features.keys()


@pytest.mark.parametrize(("name", "level"), feature_levels(PLAN).items())
def test_every_level_comes_down_to_the_coarsest_resolution(features, name, level):
    coarsest = features["encoder_3"].shape[2:]
    assert DomainDiscriminator(PLAN, level)(features[name]).shape == (2, 1, *coarsest)
