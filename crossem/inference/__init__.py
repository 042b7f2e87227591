"""Inference on volumes larger than a network sees at once."""

from crossem.inference.precision import inference_dtype
from crossem.inference.sliding_window import SlidingWindowInferer

__all__ = ["SlidingWindowInferer", "inference_dtype"]
