"""Discriminator of label, probability and entropy maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from crossem.errors import InputError
from crossem.networks.plan import UNetPlan


class MapDiscriminator(nn.Module):
    """Tells, region by region, which of two kinds a map is.

    Convolutions with the strides of the segmentation network's plan and leaky ReLU, so that a region is as anisotropic
    as the network's own receptive field (the discriminator of Tsai et al., CVPR 2018, and of Vu et al., CVPR 2019, made
    3D). There is no normalisation: the share of a class in a map is part of what is told apart.

    ``forward`` maps (B, in_channels, Z, Y, X) to logits (B, 1, z, y, x), one a region; Z, Y, X must be multiples of
    the strides used.

    Args:
        in_channels: channels of a map, and of what it is conditioned on.
        plan: the segmentation network's plan.
        channels: feature channels, one entry a downsampling; fewer entries than the plan has strides give smaller
            regions, those beyond the plan's strides are not used.

    Raises:
        InputError: when there are no channels, or one is not positive.
    """

    def __init__(self, in_channels: int, plan: UNetPlan, channels: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise InputError(f"discriminator channels are {list(channels)}: give at least one positive number")
        layers: list[nn.Module] = []
        levels = zip(plan.kernels_zyx, plan.strides_zyx, channels, strict=False)
        for kernel, stride, out_channels in levels:
            # a kernel of 4 halves an axis without favouring one of the two voxels
            kernel = tuple(4 if s == 2 else k for k, s in zip(kernel, stride, strict=True))
            padding = tuple((k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True))
            layers += [
                nn.Conv3d(in_channels, out_channels, kernel, stride, padding),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            in_channels = out_channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv3d(in_channels, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.features(maps))
