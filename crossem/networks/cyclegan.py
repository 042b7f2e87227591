"""The networks of CycleGAN: two generators and two patch discriminators for single slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from crossem.errors import InputError

INTENSITY_LIMIT = 4.0  # normalised slices are within it, see crossem.transforms.normalize_slices
_SMALLEST_SIDE = 32  # pixels; below it nothing is left after the discriminator's strides
_STRIDE = 4


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Keeps the size at stride 1; reflection padding, so that no frame appears at the border."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def _normalised(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.InstanceNorm2d(channels), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """x + two 3 x 3 convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, channels, 3),
            _normalised(channels),
            _convolution(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SliceGenerator(nn.Module):
    """Translates slices from the style of one domain to another's: (N, 1, Y, X) to (N, 1, Y, X).

    The generator of Aalto 2022, section 3.7: an encoder with c, 2c, 4c features and kernels 7, 3, 3 (the 3 x 3 with
    stride 2), residual blocks of two 3 x 3 convolutions, and a decoder of convolutions with 8c, 4c, 1 features and
    kernels 3, 3, 7, with pixel shuffling between them and tanh at the end; instance normalisation, reflection
    padding and ReLU. The report's transposed convolutions of stride 1 are convolutions.

    Intensities are those of normalised slices, within -4 ... 4: the input is divided by 4, and the output of tanh
    multiplied by it. Y and X are multiples of 4, and at least 8.

    Args:
        channels: c above, 64 in the report.
        residual_blocks: 3 in the report.

    Raises:
        InputError: when either is below 1.
    """

    def __init__(self, channels: int = 64, residual_blocks: int = 3) -> None:
        super().__init__()
        for name, value in (("generator_channels", channels), ("residual_blocks", residual_blocks)):
            if value < 1:
                raise InputError(f"{name} is {value}: give 1 or more")
        c = channels
        self.encoder = nn.Sequential(
            _convolution(1, c, 7),
            _normalised(c),
            _convolution(c, 2 * c, 3, stride=2),
            _normalised(2 * c),
            _convolution(2 * c, 4 * c, 3, stride=2),
            _normalised(4 * c),
        )
        self.transformer = nn.Sequential(*(ResidualBlock(4 * c) for _ in range(residual_blocks)))
        self.decoder = nn.Sequential(
            _convolution(4 * c, 8 * c, 3),
            nn.PixelShuffle(2),
            _normalised(2 * c),
            _convolution(2 * c, 4 * c, 3),
            nn.PixelShuffle(2),
            _normalised(c),
            _convolution(c, 1, 7, bias=True),
        )
        self.apply(_initialise)
        for convolution, shuffle in zip(self.decoder, self.decoder[1:], strict=False):
            if isinstance(shuffle, nn.PixelShuffle):
                _start_without_checkerboard(convolution)

    def forward(self, x: Tensor) -> Tensor:
        return INTENSITY_LIMIT * torch.tanh(self.decoder(self.transformer(self.encoder(x / INTENSITY_LIMIT))))


class CycleGAN(nn.Module):
    """What stage 1 trains: a generator to each domain, and a discriminator of each domain (Zhu et al. 2017).

    ``generators[d]`` makes slices of domain d ("source" or "target"), ``discriminators[d]`` gives one logit a
    region of 70 x 70 pixels, high for real slices of d: five 4 x 4 convolutions with 64, 128, 256, 512 and 1
    features, leaky ReLU and instance normalisation (Aalto 2022, section 3.7).

    ``forward`` translates source slices to the target's style.

    Args:
        channels: first feature channels of the generators.
        residual_blocks: of each generator.
        discriminator_channels: first feature channels of the discriminators.
    """

    def __init__(self, channels: int = 64, residual_blocks: int = 3, discriminator_channels: int = 64) -> None:
        super().__init__()
        self.generators = nn.ModuleDict(
            {domain: SliceGenerator(channels, residual_blocks) for domain in ("source", "target")}
        )
        self.discriminators = nn.ModuleDict(
            {domain: _discriminator(discriminator_channels) for domain in ("source", "target")}
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.generators["target"](x)

    def discriminate(self, domain: str, x: Tensor) -> Tensor:
        """Logits (N, 1, y, x) of (N, 1, Y, X) being real slices of ``domain``."""
        # MONAI's returns the features of every layer, the logits last
        return self.discriminators[domain](x / INTENSITY_LIMIT)[-1]


def _discriminator(channels: int) -> PatchDiscriminator:
    if channels < 1:
        raise InputError(f"discriminator_channels is {channels}: give 1 or more")
    return PatchDiscriminator(spatial_dims=2, channels=channels, in_channels=1, num_layers_d=3, norm="INSTANCE")


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02^2), as Zhu et al. 2017, section 7.1 of the appendix."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def _start_without_checkerboard(convolution: nn.Conv2d) -> None:
    """The four pixels that shuffling makes of one begin alike (Aitken et al. 2017, arXiv:1707.02937, section 3)."""
    convolution.weight.copy_(convolution.weight[::4].repeat_interleave(4, dim=0))


def checked_slice_patch(roi_size_zyx: Sequence[int]) -> tuple[int, int, int]:
    """``roi_size_zyx`` where the networks can train on its slices.

    Raises:
        InputError: when Z is below 1, or Y or X is below 32 or no multiple of 4.
    """
    if (
        len(roi_size_zyx) != 3
        or roi_size_zyx[0] < 1
        or any(n < _SMALLEST_SIDE or n % _STRIDE for n in roi_size_zyx[1:])
    ):
        raise InputError(
            f"translate_roi_size_zyx is {list(roi_size_zyx)}: give [z, y, x] with z at least 1, and y and x "
            f"multiples of {_STRIDE} from {_SMALLEST_SIDE}"
        )
    return tuple(roi_size_zyx)
