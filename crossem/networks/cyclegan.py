"""The networks of CycleGAN: two generators and two patch discriminators for single slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from crossem.errors import InputError
from crossem.transforms.normalize import INTENSITY_LIMIT

_STRIDE = 4  # of the generator
_BELOW_ONE = 0.99  # where atanh is still moderate
_SMALLEST_PATCH = 32  # pixels; below it nothing is left after the discriminator's strides


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Keeps the size at stride 1; reflection padding, so that no frame appears at the border."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def _normalised(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.InstanceNorm2d(channels), nn.ReLU(inplace=True))


def _doubled() -> nn.Sequential:
    """Pixel shuffling, then the mean of 2 x 2 pixels, where its four phases would be seen as a checkerboard.

    Sugawara et al. 2018, arXiv:1806.02658, section 3: with the zero-order hold a constant stays one, whatever the
    weights before it are.
    """
    return nn.Sequential(nn.PixelShuffle(2), nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, stride=1))


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

    What is not in the report: the layers make what is added to the slice before tanh, so that a generator begins
    near the identity and keeps what it need not change; and pixel shuffling is smoothed. Without these two, 350
    steps on EPFL and VNC ended in checkerboards, above all in mitochondria.

    Intensities are those of normalised slices, within -4 ... 4: the input is divided by 4, and the output of tanh
    multiplied by it. Slices of any size are taken: what the strides need is added at the border, and cut off again.

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
            _doubled(),
            _normalised(2 * c),
            _convolution(2 * c, 4 * c, 3),
            _doubled(),
            _normalised(c),
            _convolution(c, 1, 7, bias=True),
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        more_y, more_x = (_padding(n) for n in (height, width))
        padded = functional.pad(x / INTENSITY_LIMIT, (0, more_x, 0, more_y), mode="replicate")
        change = self.decoder(self.transformer(self.encoder(padded))).float()
        y = torch.tanh(torch.atanh(padded.float().clamp(-_BELOW_ONE, _BELOW_ONE)) + change)
        return INTENSITY_LIMIT * y[..., :height, :width]


def _padding(side: int) -> int:
    """Pixels up to a multiple of the stride, and to two strides: reflection needs 2 pixels at the coarsest level."""
    return max(2 * _STRIDE, -(-side // _STRIDE) * _STRIDE) - side


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


def checked_slice_patch(roi_size_zyx: Sequence[int]) -> tuple[int, int, int]:
    """``roi_size_zyx`` where the networks can train on its slices.

    Raises:
        InputError: when Z is below 1, or Y or X is below 32.
    """
    if len(roi_size_zyx) != 3 or roi_size_zyx[0] < 1 or min(roi_size_zyx[1:]) < _SMALLEST_PATCH:
        raise InputError(
            f"translate_roi_size_zyx is {list(roi_size_zyx)}: give [z, y, x] with z at least 1, and y and x at least "
            f"{_SMALLEST_PATCH}"
        )
    return tuple(roi_size_zyx)
