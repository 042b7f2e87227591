"""Figures of a comparison of methods: bars, scores over the share of labels, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crossem.report.comparison_table import LOWER_IS_BETTER, ComparisonTable, Row, runs_of, seed_scores
from crossem.report.curve import (
    COLOURS,
    FIGURE_STYLE,
    WIDTH_INCHES,
    curve_inches,
    draw_label_fraction_curve,
    label_fraction_curve,
)
from crossem.report.score import Score

_CHECKPOINT_COLOURS = {"last": COLOURS[0], "chosen": COLOURS[4]}
_BAR_OPACITY = 0.85
_ROW_INCHES = 0.34
_PANELS_ACROSS = 4
_PANEL_INCHES = 1.9


def bar_figure(table: ComparisonTable, document: Mapping[str, Any]) -> Figure | None:
    """Score of each method that takes no share of labels, and where there is one share only, of those that take it:
    bars of the mean, error bars of the standard deviation, a dot a seed, a diamond a published score. None when there
    is no such method."""
    rows = _rows_of_bars(table)
    if not rows:
        return None
    with rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, _bars_inches(rows)), layout="constrained")
        _draw_bars(figure.subplots(), table, rows, document)
    return figure


def share_figure(table: ComparisonTable) -> Figure | None:
    """Score of the last checkpoint over the share of labels, the methods without one as horizontal lines; None when
    there are not two shares."""
    scores = _scores_by_share(table)
    return label_fraction_curve(scores, table.metric_title, _levels(table)) if scores else None


def comparison_figure(table: ComparisonTable, document: Mapping[str, Any]) -> Figure | None:
    """:func:`bar_figure` above :func:`share_figure`, or the one that there is; None when there is neither."""
    rows, scores, levels = _rows_of_bars(table), _scores_by_share(table), _levels(table)
    if not rows:
        return share_figure(table)
    if not scores:
        return bar_figure(table, document)
    heights = [_bars_inches(rows), curve_inches(levels)]
    with rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        # one grid in a subfigure each: the long names beside the bars must not narrow the curves
        above, below = figure.subfigures(2, height_ratios=heights)
        _draw_bars(above.subplots(), table, rows, document)
        draw_label_fraction_curve(below.subplots(), scores, table.metric_title, levels)
    return figure


def training_figure(rows: Sequence[Row], document: Mapping[str, Any]) -> Figure | None:
    """Loss (above) and validation score (below) over the epochs, a panel a row of the table, a line a seed.

    A ring marks the chosen epoch. None when no run of the rows has curves.
    """
    panels = {row.label: runs for row in rows if (runs := [r for r in runs_of(document, row) if _has_curves(r)])}
    if not panels:
        return None
    seeds = sorted({run["seed"] for runs in panels.values() for run in runs})
    lines = -(-len(panels) // _PANELS_ACROSS)
    with rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, lines * _PANEL_INCHES + 0.3), layout="constrained")
        axes = figure.subplots(2 * lines, _PANELS_ACROSS, squeeze=False)
        for axis in axes.flat:
            axis.set_visible(False)
        _align_scores(axes[1::2].ravel()[: len(panels)])
        for index, (name, runs) in enumerate(panels.items()):
            line, column = divmod(index, _PANELS_ACROSS)
            _draw_training(axes[2 * line : 2 * line + 2, column], name, runs, seeds)
        for axis, label in zip(axes[:, 0], ("loss", "validation") * lines, strict=True):
            axis.set_ylabel(label)
        handles = [axes[0, 0].plot([], [], color=_seed_colour(seed, seeds))[0] for seed in seeds]
        figure.legend(handles, [f"seed {s}" for s in seeds], loc="outside upper left", ncols=min(len(seeds), 8))
        figure.supxlabel("epoch", fontsize=8)
    return figure


def _rows_of_bars(table: ComparisonTable) -> list[Row]:
    """Rows of bars that have a score to show, unsupervised and published ones before the others."""
    in_curves = len(_shares(table)) > 1
    rows = [row for row in table.rows if not (in_curves and row.label_fraction is not None)]
    return sorted((row for row in rows if _shown(row, table.metric)), key=lambda row: not row.unsupervised)


def _shares(table: ComparisonTable) -> set[float]:
    """The shares of labels that methods take."""
    return {row.label_fraction for row in table.rows if row.method is not None and row.label_fraction is not None}


def _shown(row: Row, metric: str) -> bool:
    return metric in row.last or metric in row.chosen or any(p.metric == metric for p in row.published)


def _bars_inches(rows: Sequence[Row]) -> float:
    return len(rows) * _ROW_INCHES + 0.8


def _draw_bars(axes: Axes, table: ComparisonTable, rows: Sequence[Row], document: Mapping[str, Any]) -> None:
    metric = table.metric
    checkpoints = [c for c in _CHECKPOINT_COLOURS if any(metric in getattr(row, c) for row in rows)]
    handles = [Patch(color=_CHECKPOINT_COLOURS[c], alpha=_BAR_OPACITY, label=f"{c} checkpoint") for c in checkpoints]
    height = 0.76 / max(len(checkpoints), 1)
    for position, row in enumerate(rows):
        bars = [(c, score) for c in checkpoints if (score := getattr(row, c).get(metric))]
        for index, (checkpoint, score) in enumerate(bars):
            y = position + (index - (len(bars) - 1) / 2) * height
            dots = seed_scores(document, row, checkpoint, metric)
            _draw_bar(axes, y, height, score, _CHECKPOINT_COLOURS[checkpoint], dots)
    published = [(p.score, at) for at, row in enumerate(rows) for p in row.published if p.metric == metric]
    if published:
        x, y = zip(*published, strict=True)
        style = {"color": "black", "markerfacecolor": "white", "markersize": 5, "label": "published", "zorder": 5}
        handles += axes.plot(x, y, "D", **style)
    with_labels = sum(not row.unsupervised for row in rows)
    if 0 < with_labels < len(rows):
        axes.axhline(len(rows) - with_labels - 0.5, color="0.6", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(table.metric_title + (" (lower is better)" if metric in LOWER_IS_BETTER else ""))
    axes.grid(axis="x", alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def _draw_bar(axes: Axes, y: float, height: float, score: Score, colour: np.ndarray, dots: Sequence[float]) -> None:
    """A bar with its numbers in a column at the right of the axes."""
    axes.barh(y, score.mean, height, color=colour, alpha=_BAR_OPACITY)
    if score.std is not None:
        axes.errorbar(score.mean, y, xerr=score.std, color="black", capsize=2, linewidth=0.8, zorder=3)
    if len(dots) > 1:
        axes.plot(dots, [y] * len(dots), "o", color="black", markersize=1.8, zorder=4)
    axes.annotate(str(score), (1.01, y), xycoords=("axes fraction", "data"), verticalalignment="center")


def _name(row: Row) -> str:
    if row.label_fraction is not None:
        return row.label
    return row.title if row.unsupervised or row.method is None else f"{row.title} (target labels)"


def _scores_by_share(table: ComparisonTable) -> dict[str, dict[float, Score]]:
    scores: dict[str, dict[float, Score]] = {}
    if len(_shares(table)) < 2:
        return scores
    for row in table.rows:
        if row.method is not None and row.label_fraction is not None and table.metric in row.last:
            scores.setdefault(row.title, {})[row.label_fraction] = row.last[table.metric]
    return scores


def _levels(table: ComparisonTable) -> dict[str, Score]:
    rows = [row for row in table.rows if row.method is not None and row.label_fraction is None]
    return {_name(row): row.last[table.metric] for row in rows if table.metric in row.last}


def _has_curves(run: Mapping[str, Any]) -> bool:
    return bool((run.get("curves") or {}).get("epoch"))


def _seed_colour(seed: int, seeds: Sequence[int]) -> np.ndarray:
    return COLOURS[seeds.index(seed) % len(COLOURS)]


def _align_scores(axes: Sequence[Axes]) -> None:
    """One scale for the scores of all panels; losses are of different kinds and keep their own."""
    for axis in axes[1:]:
        axis.sharey(axes[0])


def _draw_training(pair: Sequence[Axes], name: str, runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> None:
    loss, score = pair
    for axis in pair:
        axis.set_visible(True)
        axis.grid(alpha=0.25, linewidth=0.5)
        axis.locator_params(nbins=4)
    loss.set_title(name, wrap=True)
    loss.sharex(score)
    loss.tick_params(labelbottom=False)
    for run in runs:
        curves, colour = run["curves"], _seed_colour(run["seed"], seeds)
        epochs = np.array(curves["epoch"])
        loss.plot(epochs, np.array(curves["loss"], dtype=float), color=colour, linewidth=0.8)
        values = np.array(curves["validation_mean_iou"], dtype=float)
        known = ~np.isnan(values)
        score.plot(epochs[known], values[known], color=colour, linewidth=0.8, marker="." if known.sum() < 2 else "")
        if (chosen := run.get("chosen_epoch")) in epochs[known]:
            at = values[epochs == chosen][0]
            score.plot(chosen, at, "o", color=colour, markerfacecolor="none", zorder=4)
