"""Discriminator of the features of one level."""

from __future__ import annotations

from torch import Tensor, nn

from crossem.networks.map_discriminator import MapDiscriminator
from crossem.networks.plan import UNetPlan


def feature_levels(plan: UNetPlan) -> dict[str, int]:
    """Level (0 is the finest) of each feature map of ``AnisotropicUNet.forward_features``, by its name.

    In the order of the computation: down the encoder, up the decoder.
    """
    encoder = {f"encoder_{level}": level for level in range(plan.levels)}
    return encoder | {f"decoder_{level}": level for level in reversed(range(plan.levels - 1))}


class DomainDiscriminator(nn.Module):
    """Tells the domain that the features of one level are from.

    Strided convolutions bring any level down to the coarsest resolution of the plan, where a perceptron with one
    hidden layer decides at each position (Aalto University 2022, section 3.6: the discriminator always sees the
    lowest resolution, wherever it is placed).

    ``forward`` maps (B, channels of the level, Z, Y, X) to logits (B, 1, z, y, x) at the coarsest resolution.

    Args:
        plan: the segmentation network's plan.
        level: of the features, 0 is the finest; see ``feature_levels``.
        hidden: width of the hidden layer.
    """

    def __init__(self, plan: UNetPlan, level: int, hidden: int = 64) -> None:
        super().__init__()
        self.down: nn.Module = nn.Identity()
        if deeper := plan.channels[level + 1 :]:
            below = UNetPlan(plan.channels[level:], plan.kernels_zyx[level:], plan.strides_zyx[level:])
            self.down = MapDiscriminator(plan.channels[level], below, deeper).features
        self.perceptron = nn.Sequential(
            nn.Conv3d(plan.channels[-1], hidden, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv3d(hidden, 1, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.perceptron(self.down(features))
