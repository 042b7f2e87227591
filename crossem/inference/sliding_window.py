"""Sliding-window inference that keeps one probability volume and nothing else of its size."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from crossem.errors import InputError
from crossem.networks import forward_autocast

_SIGMA_OF_WINDOW = 0.125  # standard deviation of the Gaussian importance, as in nnU-Net and MONAI


@dataclass(frozen=True)
class WindowAxis:
    """The windows along one axis and how they blend.

    Attributes:
        size: voxels of the volume along this axis.
        window: voxels of a window; larger than `size` only when a single reflected window covers the axis.
        starts: first voxel of each window, ascending.
        blend: (windows, window) float32; the weights of all windows over any voxel add up to 1.
    """

    size: int
    window: int
    starts: tuple[int, ...]
    blend: torch.Tensor

    @classmethod
    def plan(cls, size: int, window: int, overlap: float) -> "WindowAxis":
        """Evenly spaced windows, neighbours sharing at least `overlap` of a window."""
        step = max(1, int(window * (1 - overlap)))
        last = max(0, size - window)
        starts = np.linspace(0, last, math.ceil(last / step) + 1).round().astype(int)
        centred = np.arange(window) - (window - 1) / 2
        importance = np.exp(-0.5 * (centred / (_SIGMA_OF_WINDOW * window)) ** 2)
        total = np.zeros(max(size, window))
        for start in starts:
            total[start : start + window] += importance
        blend = np.stack([importance / total[start : start + window] for start in starts])
        return cls(size, window, tuple(starts.tolist()), torch.from_numpy(blend.astype(np.float32)))

    def cut(self, volume: torch.Tensor, axis: int, start: int) -> torch.Tensor:
        """The window at `start` of a volume along `axis`, reflected where it leaves the volume."""
        if self.window <= self.size:
            return volume.narrow(axis, start, self.window)
        inside = np.pad(np.arange(self.size), (0, self.window - self.size), mode="reflect")
        return volume.index_select(axis, torch.from_numpy(inside).to(volume.device))


class SlidingWindowInferer(Inferer):
    """Blend the network's probabilities over overlapping windows, with Gaussian importance.

    No window is deeper than asked for, over thin stacks neither. An axis shorter than its window gets one window of
    the smallest multiple of the divisor that holds it, the rest being reflected, never zeros. The importance of a
    window is a product of three profiles and the windows stand on a regular grid, so the sum of the importances is
    separable too: the profiles are normalised beforehand, and no weight volume exists. Windows are added to the
    result as they come; none is kept.

    Args:
        roi_size_zyx: window in voxels; rounded up to a multiple of `divisor_zyx`.
        overlap: share of a window that neighbours have in common at least, 0 <= overlap < 1.
        divisor_zyx: a window has to be a multiple of this, the product of the network's strides.
        sw_batch_size: windows in one forward pass.
        softmax: the network gives logits of two classes or more, turned into probabilities window by window,
            before blending. False: blend what the network gives.
        dtype: autocast dtype of the forward pass; None: that of :func:`crossem.networks.native_dtype`.
        device: where windows are sent; None: where the network's parameters are.

    Raises:
        InputError: a size that is not positive, or an overlap outside 0..1.
    """

    def __init__(
        self,
        roi_size_zyx: Sequence[int],
        overlap: float = 0.25,
        divisor_zyx: Sequence[int] = (1, 1, 1),
        sw_batch_size: int = 1,
        softmax: bool = True,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        for name, sizes in {"roi_size_zyx": roi_size_zyx, "divisor_zyx": divisor_zyx}.items():
            if len(sizes) != 3 or min(sizes) < 1:
                raise InputError(f"{name} is {tuple(sizes)}; give three positive sizes in z, y, x order")
        if not 0 <= overlap < 1:
            raise InputError(f"overlap is {overlap}; give a share of the window, 0 <= overlap < 1")
        if sw_batch_size < 1:
            raise InputError(f"sw_batch_size is {sw_batch_size}; give 1 or more")
        self.divisor_zyx = tuple(divisor_zyx)
        self.roi_size_zyx = tuple(map(_round_up, roi_size_zyx, divisor_zyx))
        self.overlap = overlap
        self.sw_batch_size = sw_batch_size
        self.softmax = softmax
        self.dtype = dtype
        self.device = None if device is None else torch.device(device)

    def plan(self, shape_zyx: Sequence[int]) -> list[WindowAxis]:
        """The windows of a volume of this shape, for z, y and x."""
        windows = [
            roi if size >= roi else _round_up(size, divisor)
            for size, roi, divisor in zip(shape_zyx, self.roi_size_zyx, self.divisor_zyx, strict=True)
        ]
        return [WindowAxis.plan(s, w, self.overlap) for s, w in zip(shape_zyx, windows, strict=True)]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Probabilities of the whole volume.

        Args:
            inputs: (1, C, Z, Y, X), any dtype; integers are converted to float32 window by window.
            network: maps (B, C, z, y, x) windows to (B, C_out, z, y, x); a module, TorchScript or a function.
            args, kwargs: passed on to the network.

        Returns:
            (1, C_out, Z, Y, X) float32 on the device of `inputs`; a MetaTensor with the metadata of `inputs`
            if that is one.

        Raises:
            InputError: `inputs` has another shape, or the network's output does not fit the windows.
        """
        if inputs.ndim != 5 or inputs.shape[0] != 1 or inputs.numel() == 0:
            raise InputError(f"volume of shape {tuple(inputs.shape)}; give (1, C, Z, Y, X), none zero")
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        axes = self.plan(volume.shape[2:])
        device = self.device or _device_of(network, volume.device)
        output = None
        with torch.inference_mode(), forward_autocast(device, self.dtype):
            for batch in _batches(axes, self.sw_batch_size):
                windows = torch.cat([_cut(volume, axes, index) for index in batch]).to(device).float()
                values = self._values(network(windows, *args, **kwargs), windows).to(volume.device)
                if output is None:
                    output = _empty_output(volume, values.shape[1] + self.softmax)
                for window, index in zip(values, batch, strict=True):
                    _add(output[0, int(self.softmax) :], window, axes, index)
            if self.softmax:
                torch.sum(output[:, 1:], dim=1, out=output[:, 0]).neg_().add_(1)
        if isinstance(inputs, MetaTensor):
            return MetaTensor(output).copy_meta_from(inputs)
        return output

    def _values(self, raw: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """What is blended, float32: all but the first class's probabilities, or the raw output."""
        if raw.shape[2:] != windows.shape[2:]:
            raise InputError(
                f"the network made {tuple(raw.shape[2:])} of a window of {tuple(windows.shape[2:])}; "
                "set divisor_zyx to the product of its strides"
            )
        if not self.softmax:
            return raw.float()
        if raw.shape[1] < 2:
            raise InputError("the network gives one channel, which has no softmax; set softmax to False")
        if raw.shape[1] == 2:
            return torch.sigmoid(raw[:, 1:].float() - raw[:, :1].float())
        return torch.softmax(raw.float(), dim=1)[:, 1:]


Index = tuple[int, int, int]


def _round_up(size: int, divisor: int) -> int:
    return -(-size // divisor) * divisor


def _device_of(network: Callable[..., torch.Tensor], default: torch.device) -> torch.device:
    parameters = network.parameters() if isinstance(network, torch.nn.Module) else iter(())
    return next((p.device for p in parameters), default)


def _batches(axes: list[WindowAxis], size: int) -> Iterator[list[Index]]:
    """Window indices (z, y, x), x fastest, `size` at a time."""
    indices = list(itertools.product(*(range(len(a.starts)) for a in axes)))
    return (indices[i : i + size] for i in range(0, len(indices), size))


def _cut(volume: torch.Tensor, axes: list[WindowAxis], index: Index) -> torch.Tensor:
    for axis, (windows, i) in enumerate(zip(axes, index, strict=True), start=2):
        volume = windows.cut(volume, axis, windows.starts[i])
    return volume


def _empty_output(volume: torch.Tensor, channels: int) -> torch.Tensor:
    # An inference tensor could not be changed in place by the postprocessing, outside inference mode.
    with torch.inference_mode(False):
        return torch.zeros((1, channels, *volume.shape[2:]), dtype=torch.float32, device=volume.device)


def _add(output: torch.Tensor, window: torch.Tensor, axes: list[WindowAxis], index: Index) -> None:
    """Add a (C, z, y, x) window, weighted, to the (C, Z, Y, X) output in place."""
    for axis, (windows, i) in enumerate(zip(axes, index, strict=True), start=1):
        inside = min(windows.window, windows.size)
        output = output.narrow(axis, windows.starts[i], inside)
        window = window.narrow(axis, 0, inside)
    z, y, x = (a.blend[i, : a.size].to(output.device) for a, i in zip(axes, index, strict=True))
    output.addcmul_(window, z[:, None, None] * (y[:, None] * x))
