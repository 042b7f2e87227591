"""Score against the share of target labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from crossem.report.overlay import CLASS_COLOURS
from crossem.report.score import Score, percent

# Okabe & Ito 2008, as in the overlays, without the yellow that is faint on white
COLOURS = CLASS_COLOURS[[4, 5, 2, 6, 0, 1]] / 255
MARKERS = "osD^vPX"  # one more than colours, so that no pair comes twice before the 43rd line
WIDTH_INCHES = 7.0  # the printable width of a page: 8 points in the figure are 8 points on paper
FIGURE_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "svg.hashsalt": "crossem",  # the same figure is the same file
}
_CONNECTOR = {"arrowstyle": "-", "color": "0.55", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
_LINE_INCHES = 0.155  # of one line of text of the font size above


def label_fraction_curve(
    scores: Mapping[str, Mapping[float, Score]], score_name: str, levels: Mapping[str, Score] | None = None
) -> Figure:
    """One line a method over the share of labels, after figure 3 of Roels et al. 2019.

    Args:
        scores: method -> share of labels (0 ... 1) -> score; bars and a band show the standard deviation.
        score_name: label of the y axis.
        levels: horizontal lines for what has no share of labels, name -> score.
    """
    with rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, curve_inches(levels or {})), layout="constrained")
        draw_label_fraction_curve(figure.subplots(), scores, score_name, levels)
    return figure


def curve_inches(levels: Mapping[str, Score]) -> float:
    """Height in which the names of all levels find a line each."""
    return max(3.4, (len(levels) + 5) * _LINE_INCHES)


def draw_label_fraction_curve(
    axes: Axes,
    scores: Mapping[str, Mapping[float, Score]],
    score_name: str,
    levels: Mapping[str, Score] | None = None,
) -> None:
    """Draw :func:`label_fraction_curve` on given axes, `curve_inches` high."""
    shares = sorted({share for by_share in scores.values() for share in by_share})
    for index, (name, by_share) in enumerate(scores.items()):
        at = [shares.index(share) for share in sorted(by_share)]
        points = [by_share[share] for share in sorted(by_share)]
        mean, std = np.array([p.mean for p in points]), np.array([p.std or 0.0 for p in points])
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(at, mean, MARKERS[index % len(MARKERS)] + "-", color=colour, label=name, zorder=3)
        if std.any():
            axes.errorbar(at, mean, std, fmt="none", ecolor=colour, capsize=2, elinewidth=0.8, zorder=3)
            axes.fill_between(at, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(shares)), [percent(share) for share in shares])
    axes.set_xlim(-0.15, max(len(shares) - 1, 0) + 0.15)
    axes.set_xlabel("share of the target's training labels")
    axes.set_ylabel(score_name)
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    if levels:
        _draw_levels(axes, levels)


def _draw_levels(axes: Axes, levels: Mapping[str, Score]) -> None:
    """A dashed line a level, its name at the right end, moved aside where names would overlap."""
    ordered = sorted(levels.items(), key=lambda item: item[1].mean)
    for _, score in ordered:
        axes.axhline(score.mean, linestyle=(0, (4, 3)), color="0.55", linewidth=0.8, zorder=1)
    low, high = axes.get_ylim()
    places = _spread([(s.mean - low) / (high - low) for _, s in ordered], _LINE_INCHES / (curve_inches(levels) - 0.8))
    for (name, score), place in zip(ordered, places, strict=True):
        axes.annotate(
            f"{name} {score.mean:.2f}",
            xy=(1, score.mean),
            xycoords=("axes fraction", "data"),
            xytext=(1.05, place),
            textcoords="axes fraction",
            verticalalignment="center",
            arrowprops=_CONNECTOR,
        )


def _spread(positions: list[float], gap: float) -> np.ndarray:
    """The ascending positions nearest to the given ones that are `gap` apart, within 0 ... 1 if they fit."""
    steps = gap * np.arange(len(positions))
    moved = isotonic_regression(np.asarray(positions) - steps).x
    return np.clip(moved, 0, max(0.0, 1 - steps[-1])) + steps
