"""Inference on volumes larger than a network sees at once."""

from crossem.inference.check import check_inputs
from crossem.inference.sliding_window import SlidingWindowInferer

__all__ = ["SlidingWindowInferer", "check_inputs"]
