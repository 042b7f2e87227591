"""Parameter groups of the one optimiser that a method has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from crossem.checks import checked_number


def parameter_groups(
    network: nn.Module, learning_rate: float, modules: Iterable[nn.Module] = (), modules_learning_rate: float = 1e-3
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: the network's parameters, and those of what is trained beside it.

    A group of its own gives discriminators and extra decoders their own learning rate, and their gradients are
    clipped apart from the network's. Frozen parameters are left out, and so is a group that would be empty
    (an alignment loss without parameters), which torch refuses.

    Args:
        network: the segmentation network; its group comes first.
        learning_rate: of the network.
        modules: discriminators, decoders ...; together one group. None may share parameters with ``network``.
        modules_learning_rate: of the modules.

    Raises:
        InputError: when a learning rate is negative, or no number.
    """
    for rate in (learning_rate, modules_learning_rate):
        checked_number("learning_rate", rate)
    groups = [
        {"params": [p for p in network.parameters() if p.requires_grad], "lr": learning_rate},
        {"params": [p for m in modules for p in m.parameters() if p.requires_grad], "lr": modules_learning_rate},
    ]
    return [group for group in groups if group["params"]]
