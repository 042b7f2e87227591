"""Weights of the segmentation network: loading them, and freezing a part."""

from __future__ import annotations

import pickle
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossem.errors import InputError
from crossem.networks.unet import AnisotropicUNet

_CLASSIFIER = "decoder.head."  # names of the last layer's weights, which alone depend on the classes
_SEGMENTATION_OPTIONS = "working voxel size, roi_size_zyx, channels and classes"


def load_torch_file(path: str | PathLike) -> Any:
    """What ``torch.save`` wrote, on the CPU; tensors and plain containers only.

    Raises:
        InputError: when the file is truncated, empty or something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({type(error).__name__}): train or copy it again"
        ) from error


def load_weights(
    network: nn.Module,
    path: str | PathLike,
    new_classifier: bool = False,
    options: str = _SEGMENTATION_OPTIONS,
) -> None:
    """Load a plain state_dict (``model.pt``) into ``network``.

    Args:
        network: gets the weights.
        path: of the file.
        new_classifier: leave the network's last layer (1 x 1 x 1, features to classes) as it is, so that the file may
            be of other classes (Roy and Chakraborty, section 5.2).
        options: what the network's architecture depends on, for the error message.

    Raises:
        InputError: when the file is missing or unreadable, or belongs to another architecture.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path} does not exist: give the path of a model.pt that a training wrote")
    state = load_torch_file(path)
    own = network.state_dict()
    if new_classifier and isinstance(state, dict):
        state |= {name: value for name, value in own.items() if name.startswith(_CLASSIFIER)}
    if mismatch := _first_mismatch(own, state):
        raise InputError(
            f"checkpoint {path} belongs to another architecture, {mismatch}: give one of the same {options}"
        )
    network.load_state_dict(state)


def _first_mismatch(own: dict[str, torch.Tensor], given: object) -> str | None:
    """The first difference between two state_dicts in words ("as ..."), or None."""
    if not isinstance(given, dict) or not all(isinstance(v, torch.Tensor) for v in given.values()):
        return "as it is no plain state_dict (checkpoint.pt is none, model.pt is one)"
    for name in sorted(own.keys() | given.keys()):
        if name not in given:
            return f"as it lacks {name}"
        if name not in own:
            return f"as it has {name}, which this network lacks"
        if own[name].shape != given[name].shape:
            return f"as {name} is {tuple(given[name].shape)} there, {tuple(own[name].shape)} here"
    return None


def freeze_encoder_levels(network: AnisotropicUNet, levels: int) -> AnisotropicUNet:
    """Freeze the first ``levels`` encoder levels, so that only the deeper ones are fine-tuned.

    Ghafoorian et al. 2017, in the review of cross-domain segmentation, section 2.1: the first i layers keep the
    source's weights, the remaining d - i are trained on the target.

    Raises:
        InputError: when ``levels`` is not in 0 ... number of encoder levels.
    """
    available = len(network.encoder.levels)
    if not 0 <= levels <= available:
        raise InputError(f"frozen_levels is {levels}: the encoder has {available} levels, give 0 to {available}")
    for level in network.encoder.levels[:levels]:
        level.requires_grad_(False)
    return network


def prepare_network(
    network: AnisotropicUNet,
    device: torch.device,
    pretrained: str | PathLike | None = None,
    frozen_levels: int = 0,
    new_classifier: bool = False,
) -> AnisotropicUNet:
    """The network ready to train or predict: weights loaded, levels frozen, on its device, channels last.

    Raises:
        InputError: as ``load_weights`` and ``freeze_encoder_levels``; ``new_classifier`` without ``pretrained``.
    """
    if pretrained is not None:
        load_weights(network, pretrained, new_classifier)
    elif new_classifier:
        raise InputError(
            "new_classifier is True and pretrained is not given: give --pretrained model.pt, or leave it out"
        )
    freeze_encoder_levels(network, frozen_levels)
    return network.to(device, memory_format=torch.channels_last_3d)
