"""Checks of transform parameters, made when a transform is built."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossem.errors import InputError


def checked_range(name: str, bounds: Sequence[float], minimum: float = -math.inf) -> tuple[float, float]:
    """`bounds` as (low, high) with minimum <= low <= high; InputError otherwise."""
    pair = tuple(float(v) for v in bounds)
    if len(pair) != 2 or not minimum <= pair[0] <= pair[1] < math.inf:
        raise InputError(f"{name} is {list(bounds)}: give [low, high] with {minimum:g} <= low <= high")
    return pair


def checked_number(name: str, value: float, minimum: float = 0.0, maximum: float = math.inf) -> float:
    """`value` as a finite number in [minimum, maximum]; InputError otherwise."""
    if not (math.isfinite(value) and minimum <= value <= maximum):
        raise InputError(f"{name} is {value}: give a number from {minimum:g} to {maximum:g}")
    return float(value)
