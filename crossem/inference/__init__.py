"""Inference on volumes larger than a network sees at once."""

from crossem.inference.check import check_inputs
from crossem.inference.confirmed import ConfirmedInferer, confirmed_inferer
from crossem.inference.sliding_window import SlidingWindowInferer

__all__ = ["ConfirmedInferer", "SlidingWindowInferer", "check_inputs", "confirmed_inferer"]
