"""Losses."""

from crossem.losses.segmentation import WeightedCrossEntropyDice

__all__ = ["WeightedCrossEntropyDice"]
