"""A score over the seeds of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """Mean over the seeds and their sample standard deviation (ddof=1), None with one seed."""

    mean: float
    std: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


def scores_of(summary: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Score]:
    """Metric -> Score of ``{metric: {"mean", "std"}}``; a metric without a finite mean is left out."""
    found = {}
    for metric, entry in (summary or {}).items():
        if is_number(entry["mean"]):
            found[metric] = Score(entry["mean"], entry["std"] if is_number(entry["std"]) else None)
    return found


def percent(share: float) -> str:
    """A share of labels as it is written everywhere: "15 %" for 0.15."""
    return f"{100 * share:g} %"


def is_number(value: float | None) -> bool:
    """Neither missing nor nan: a score that is 0/0 is either in JSON."""
    return value is not None and math.isfinite(value)
