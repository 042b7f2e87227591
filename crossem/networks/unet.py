"""The segmentation network of every bundle: an anisotropic 3D U-Net with reachable features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossem.networks.plan import Triple, UNetPlan


def conv_block(in_channels: int, out_channels: int, kernel_zyx: Triple) -> nn.Sequential:
    """Convolution, instance normalisation, leaky ReLU; keeps the size.

    Instance normalisation has no running statistics, so nothing of the source domain is stored in it. It is
    written as GroupNorm with a group a channel, which is the same and, unlike InstanceNorm3d, keeps
    channels_last_3d on the CPU (a training step took 1.5 s instead of 1.9 s).
    """
    padding = tuple(k // 2 for k in kernel_zyx)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_zyx, padding=padding, bias=False),
        nn.GroupNorm(out_channels, out_channels),
        nn.LeakyReLU(0.01, inplace=True),
    )


class Encoder(nn.Module):
    """Contracting path. ``forward`` returns the features of every level, finest first."""

    def __init__(self, in_channels: int, plan: UNetPlan) -> None:
        super().__init__()
        self.levels, self.pools = nn.ModuleList(), nn.ModuleList()
        previous = in_channels
        for level, (channels, kernel) in enumerate(zip(plan.channels, plan.kernels_zyx, strict=True)):
            stride = plan.strides_zyx[level - 1] if level else (1, 1, 1)
            self.pools.append(nn.MaxPool3d(stride, stride) if level else nn.Identity())
            self.levels.append(
                nn.Sequential(conv_block(previous, channels, kernel), conv_block(channels, channels, kernel))
            )
            previous = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for pool, level in zip(self.pools, self.levels):  # noqa: B905 (TorchScript)
            x = level(pool(x))
            features.append(x)
        return features


class Decoder(nn.Module):
    """Expanding path from the encoder's features to one map an output channel.

    Skip connections join by addition (as in the residual symmetric U-Net of Lee et al. 2017, arXiv:1706.00120):
    half the convolution work of a concatenation.

    Args:
        plan: the encoder's plan.
        out_channels: channels of the output map.
        skips: whether the encoder's features join in at every level (segmentation), or only the coarsest
            are used (reconstruction; Roels et al. 2019, section 4).
    """

    def __init__(self, plan: UNetPlan, out_channels: int, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        self.ups, self.levels = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(plan.levels - 1)):
            channels, kernel, stride = plan.channels[level], plan.kernels_zyx[level], plan.strides_zyx[level]
            self.ups.append(nn.ConvTranspose3d(plan.channels[level + 1], channels, stride, stride))
            self.levels.append(conv_block(channels, channels, kernel))
        self.head = nn.Conv3d(plan.channels[0], out_channels, 1)

    def features(self, encoded: list[Tensor]) -> list[Tensor]:
        """Decoder features, coarsest first: levels ``plan.levels - 2`` to 0."""
        x = encoded[-1]
        decoded: list[Tensor] = []
        for i, (up, level) in enumerate(zip(self.ups, self.levels)):  # noqa: B905 (TorchScript)
            x = up(x)
            if self.skips:
                x = x + encoded[len(encoded) - 2 - i]
            x = level(x)
            decoded.append(x)
        return decoded

    def forward(self, encoded: list[Tensor]) -> Tensor:
        return self.head(self.features(encoded)[-1])


class AnisotropicUNet(nn.Module):
    """3D U-Net whose kernels and strides follow the voxel size.

    ``forward`` maps (B, in_channels, Z, Y, X) to logits (B, out_channels, Z, Y, X) and scripts; Z, Y, X must be
    multiples of ``plan.divisor_zyx``.
    """

    def __init__(self, in_channels: int, out_channels: int, plan: UNetPlan) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.encoder = Encoder(in_channels, plan)
        self.decoder = Decoder(plan, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    @torch.jit.ignore
    def forward_features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the features of every level: ``encoder_0`` (finest) ..., ``decoder_0`` (finest) ..."""
        encoded = self.encoder(x)
        decoded = self.decoder.features(encoded)
        named = {f"encoder_{i}": f for i, f in enumerate(encoded)}
        named |= {f"decoder_{len(decoded) - 1 - i}": f for i, f in enumerate(decoded)}
        return self.decoder.head(decoded[-1]), named
