"""The discriminator of maps: its regions follow the plan, and it learns a difference of shape."""

import pytest
import torch

from crossem.errors import InputError
from crossem.networks import MapDiscriminator, plan_unet

ANISOTROPIC = plan_unet((50, 10, 10), (8, 64, 64))


@pytest.mark.parametrize(
    ("plan", "channels", "divisor"),
    [
        (ANISOTROPIC, (4, 4, 4, 4), (2, 16, 16)),
        (ANISOTROPIC, (4, 4), (1, 4, 4)),
        (ANISOTROPIC, (4,) * 9, (2, 16, 16)),
        (plan_unet((10, 10, 10), (32, 32, 32), (4, 4, 4)), (4, 4, 4), (4, 4, 4)),
    ],
)
def test_a_logit_a_region(plan, channels, divisor):
    size = (8, 32, 64)
    logits = MapDiscriminator(3, plan, channels)(torch.randn(2, 3, *size))
    assert logits.shape == (2, 1, *(n // d for n, d in zip(size, divisor, strict=True)))


def test_a_logit_sees_its_own_region_and_its_neighbourhood_only():
    maps = torch.randn(1, 1, 2, 64, 64, requires_grad=True)
    MapDiscriminator(1, ANISOTROPIC, (4, 4))(maps)[0, 0, 0, 8, 8].backward()
    rows = maps.grad[0, 0, 0].abs().sum(dim=1).nonzero()[:, 0]
    assert rows.min() <= 32 and rows.max() >= 35  # its own: 32 to 35
    assert rows.min() >= 32 - 4 and rows.max() <= 35 + 4
    assert not maps.grad[0, 0, 1].any()  # kernels are flat while z is coarser


def test_it_learns_to_tell_shapes_of_the_same_share():
    torch.manual_seed(0)
    stripes = (torch.arange(32) % 8 < 2).float()
    true, false = stripes.expand(1, 1, 2, 32, 32), stripes[:, None].expand(1, 1, 2, 32, 32)
    discriminator = MapDiscriminator(1, plan_unet((50, 10, 10), (2, 32, 32)), (8, 8))
    optimizer = torch.optim.Adam(discriminator.parameters(), 0.02)
    for _ in range(40):
        loss = torch.nn.functional.softplus(torch.cat([-discriminator(true), discriminator(false)])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert discriminator(true).min() > 0 > discriminator(false).max()


@pytest.mark.parametrize("channels", [(), (8, 0)])
def test_channels_that_cannot_be(channels):
    with pytest.raises(InputError, match="discriminator channels are"):
        MapDiscriminator(1, ANISOTROPIC, channels)
