"""Checks of parameters, made when what takes them is built."""

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
    if not isinstance(value, int | float) or not (math.isfinite(value) and minimum <= value <= maximum):
        allowed = f"{minimum:g} or more" if maximum == math.inf else f"from {minimum:g} to {maximum:g}"
        raise InputError(f"{name} is {value!r}: give a number, {allowed}")
    return float(value)
