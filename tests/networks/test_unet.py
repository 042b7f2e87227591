import numpy as np
import pytest
import torch
from torch.nn import functional

from crossem.networks import AnisotropicUNet, Decoder, plan_unet


@pytest.fixture
def plan():
    return plan_unet((45, 9.5, 9.5), (8, 64, 64))


@pytest.fixture
def network(plan):
    torch.manual_seed(0)
    return AnisotropicUNet(1, 2, plan).eval()


def test_default_network_is_small():
    network = AnisotropicUNet(1, 2, plan_unet((45, 9.5, 9.5), (8, 112, 112)))
    assert sum(p.numel() for p in network.parameters()) < 2_500_000


def test_script_equals_eager(network):
    x = torch.randn(1, 1, 8, 64, 64)
    assert torch.equal(torch.jit.script(network)(x), network(x))


def test_every_level_is_reachable_at_its_resolution(network, plan):
    x = torch.randn(1, 1, 8, 64, 64)
    logits, features = network.forward_features(x)
    assert torch.equal(logits, network(x))
    names = [f"encoder_{i}" for i in range(plan.levels)] + [f"decoder_{i}" for i in range(plan.levels - 1)]
    assert set(features) == set(names)
    size = np.array([8, 64, 64])
    for level in range(plan.levels):
        assert tuple(features[f"encoder_{level}"].shape[2:]) == tuple(size)
        if level < plan.levels - 1:
            assert features[f"decoder_{level}"].shape == features[f"encoder_{level}"].shape
            size = size // plan.strides_zyx[level]


def test_normalisation_is_instance_normalisation(network):
    block = network.encoder.levels[0][0]
    x = torch.randn(2, 1, 4, 16, 16)
    convolved = block[0](x)
    expected = functional.leaky_relu(functional.instance_norm(convolved), 0.01)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_sections_do_not_mix_before_the_plane_is_as_coarse(network):
    """At the two finest levels the kernels are flat, so a change in one slice stays in its slice."""
    a = torch.randn(1, 1, 8, 64, 64)
    b = a.clone()
    b[:, :, 3] += torch.randn(64, 64)
    convolution_only = [m for level in network.encoder.levels[:2] for m in level.modules() if _is_conv(m)]
    for conv in convolution_only[:2]:
        a, b = conv(a), conv(b)
    changed = (a != b).any(dim=(0, 1, 3, 4))
    assert changed.tolist() == [z == 3 for z in range(8)]


def _is_conv(module):
    return isinstance(module, torch.nn.Conv3d)


def test_reconstruction_decoder_uses_the_coarsest_features_alone(plan, network):
    decoder = Decoder(plan, 1, skips=False)
    encoded = network.encoder(torch.randn(1, 1, 8, 64, 64))
    expected = decoder(encoded)
    without = [torch.zeros_like(f) for f in encoded[:-1]] + [encoded[-1]]
    assert torch.equal(decoder(without), expected)
    assert expected.shape == (1, 1, 8, 64, 64)
    with_skips = Decoder(plan, 1)
    assert not torch.equal(with_skips(without), with_skips(encoded))
