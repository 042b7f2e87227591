"""Losses."""

from crossem.losses.adversarial import adversarial_loss
from crossem.losses.coral import coral
from crossem.losses.domain import domain_accuracy, domain_loss
from crossem.losses.entropy import entropy_loss, self_information
from crossem.losses.mmd import mmd
from crossem.losses.segmentation import WeightedCrossEntropyDice
from crossem.losses.structure import StructureLoss

__all__ = [
    "StructureLoss",
    "WeightedCrossEntropyDice",
    "adversarial_loss",
    "coral",
    "domain_accuracy",
    "domain_loss",
    "entropy_loss",
    "mmd",
    "self_information",
]
