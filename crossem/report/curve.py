"""Score against the share of target labels."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

# Okabe & Ito 2008, as in the overlays
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def label_fraction_curve(
    scores: Mapping[str, Mapping[float, float]], score_name: str, levels: Mapping[str, float] | None = None
) -> Figure:
    """One line a method over the share of labels, after figure 3 of Roels et al. 2019.

    Args:
        scores: method -> share of labels (0 ... 1) -> score.
        score_name: label of the y axis.
        levels: horizontal lines for what uses no target labels, name -> score.
    """
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for colour, (name, by_fraction) in zip(COLOURS, scores.items(), strict=False):
        fractions = sorted(by_fraction)
        axes.plot(range(len(fractions)), [by_fraction[f] for f in fractions], "o-", color=colour, label=name)
        axes.set_xticks(range(len(fractions)), [f"{100 * f:g} %" for f in fractions])
    for name, value in (levels or {}).items():
        axes.axhline(value, linestyle="--", color="0.5", label=f"{name} ({value:.2f})")
    axes.set_xlabel("share of the target's training labels")
    axes.set_ylabel(score_name)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure
