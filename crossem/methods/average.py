"""Running average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a network's weights, which is the network that is validated and saved.

    It takes the place of a learning-rate schedule: it anneals at any length of training, so that a run can be
    lengthened or resumed without planning for it (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, whose
    warm-up min(decay, (1 + t) / (10 + t)) is used).

    Args:
        network: the network being trained; its device and memory format are kept.
        decay: weight of the past at each step.
    """

    def __init__(self, network: nn.Module, decay: float = 0.99) -> None:
        self.source, self.decay, self.steps = network, decay, 0
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own, new = list(self.network.parameters()), list(self.source.parameters())
        torch._foreach_lerp_(own, new, 1 - decay)

    def state_dict(self) -> dict:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
