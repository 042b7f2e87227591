"""The rows and columns of a comparison of methods, from its results document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crossem.report.score import Score, is_number, percent, scores_of

T = TypeVar("T")

METRIC_TITLES = {
    "mean_iou": "IoU",
    "mean_dice": "Dice",
    "mean_precision": "Precision",
    "mean_recall": "Recall",
    "adapted_rand_error": "Adapted Rand error",
    "variation_of_information": "VOI",
}
LOWER_IS_BETTER = {"adapted_rand_error", "variation_of_information"}
_INSTANCE_F1 = "instance_f1_"
MISSING = "–"


@dataclass(frozen=True)
class Published:
    """A score from a paper; `source` is where it stands, `number` the source's place in the list of sources."""

    name: str
    score: float
    metric: str
    source: str
    number: int


@dataclass(frozen=True)
class Row:
    """A method at a share of target labels, or (with no `method`) a published score that matches none of ours.

    Attributes:
        method: key of the method in the document; None for a published score alone.
        label_fraction: share of the target's training labels, 0 ... 1; None for a method that takes no share.
        unsupervised: no target label was used in training.
        epochs: of its training and of all that it needs.
        last, chosen: metric -> score of the last and of the chosen checkpoint; empty where there is none.
        source: metric -> score of the last checkpoint on the source; empty where it was not validated there.
    """

    method: str | None
    title: str
    label_fraction: float | None = None
    unsupervised: bool = True
    epochs: int | None = None
    seeds: tuple[int, ...] = ()
    last: Mapping[str, Score] = field(default_factory=dict)
    chosen: Mapping[str, Score] = field(default_factory=dict)
    source: Mapping[str, Score] = field(default_factory=dict)
    published: tuple[Published, ...] = ()

    @property
    def label(self) -> str:
        """The title, with the share of labels where there is one."""
        return self.title if self.label_fraction is None else f"{self.title}, {percent(self.label_fraction)}"

    @property
    def label_share(self) -> str:
        if self.label_fraction is not None:
            return percent(self.label_fraction)
        return "none" if self.unsupervised else "all"


@dataclass(frozen=True)
class ScoreColumn:
    """One metric of one kind of a row's scores: "last", "chosen" or "source"."""

    title: str
    kind: str
    metric: str

    def score(self, row: Row) -> Score | None:
        return getattr(row, self.kind).get(self.metric)


@dataclass(frozen=True)
class Cell:
    """Text of a table cell; `best` of its column among the unsupervised methods."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class ComparisonTable:
    """What Markdown, HTML and figures show.

    Attributes:
        metric: the metric that methods are ordered by.
        rows: unsupervised methods, the best first, then by share of labels, then published scores of others.
        columns: the scores that at least one run has.
        sources: of the published scores; Published.number counts them from 1.
    """

    metric: str
    rows: tuple[Row, ...]
    columns: tuple[ScoreColumn, ...]
    sources: tuple[str, ...]

    @property
    def header(self) -> list[str]:
        return [
            "Method",
            "Target labels",
            "Epochs",
            "Seeds",
            *self._beside_main([c.title for c in self.columns], "Published"),
        ]

    @property
    def metric_title(self) -> str:
        return metric_title(self.metric)

    def cells(self, row: Row) -> list[Cell]:
        """One cell a name of `header`."""
        if row.method is None:
            share = MISSING if row.label_fraction is None else row.label_share
            cells = [Cell(row.title), Cell(share), Cell(MISSING), Cell(MISSING)]
            scores = [Cell(MISSING)] * len(self.columns)
        else:
            cells = [Cell(row.title), Cell(row.label_share), Cell(str(row.epochs)), Cell(str(len(row.seeds)))]
            scores = [self._score_cell(column, row) for column in self.columns]
        return cells + self._beside_main(scores, Cell(self._published_text(row)))

    def _beside_main(self, entries: list[T], published: T) -> list[T]:
        """One entry a column, and that of the published scores (if there are any) after the metric they are of."""
        if not self.sources:
            return entries
        main = sum(column.metric == self.metric and column.kind != "source" for column in self.columns)
        return [*entries[:main], published, *entries[main:]]

    def _score_cell(self, column: ScoreColumn, row: Row) -> Cell:
        score = column.score(row)
        if score is None:
            return Cell(MISSING)
        others = [column.score(other) for other in self.rows if other.method and other.unsupervised]
        rivals = [f"{other.mean:.3f}" for other in others if other is not None]
        pick = min if column.metric in LOWER_IS_BETTER else max
        best = row.unsupervised and len(set(rivals)) > 1 and f"{score.mean:.3f}" == pick(rivals, key=float)
        return Cell(str(score), best)

    def _published_text(self, row: Row) -> str:
        texts = []
        for entry in row.published:
            name = "" if entry.metric == self.metric else f"{metric_title(entry.metric)} "
            texts.append(f"{name}{entry.score:g} [{entry.number}]")
        return "; ".join(texts) or MISSING


def metric_title(metric: str) -> str:
    """What a metric is called: "IoU" for "mean_iou", "Instance F1, glia" for "instance_f1_glia"."""
    if metric.startswith(_INSTANCE_F1):
        return f"Instance F1, {metric.removeprefix(_INSTANCE_F1)}"
    return METRIC_TITLES.get(metric, metric)


def comparison_table(document: Mapping[str, Any]) -> ComparisonTable:
    """The table of a results document of ``tools/compare_methods.py``."""
    metric = document["protocol"]["metric"]
    entries = document.get("published") or []
    sources = tuple(dict.fromkeys(entry["source"] for entry in entries))
    rows = [_row(document, summary) for summary in document["summary"]]
    rows, others = _with_published(rows, entries, sources)
    rows.sort(key=lambda row: _order(row, metric))
    return ComparisonTable(metric, (*rows, *others), tuple(_columns(rows, metric)), sources)


def _row(document: Mapping[str, Any], summary: Mapping[str, Any]) -> Row:
    key, share = summary["method"], summary["label_fraction"]
    unsupervised = share is None and document["spec"]["methods"].get(key, {}).get("unsupervised", True)
    return Row(
        method=key,
        title=document["methods"][key]["title"],
        label_fraction=share,
        unsupervised=unsupervised,
        epochs=document["methods"][key]["epochs"],
        seeds=tuple(summary["seeds"]),
        last=scores_of(summary["last"]),
        chosen=scores_of(summary["chosen"]),
        source=scores_of(summary["source"]),
    )


def _with_published(
    rows: list[Row], entries: Sequence[Mapping[str, Any]], sources: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Our rows with the published scores of the same method and share of labels, and rows of the other ones."""
    by_row: dict[int, list[Published]] = {}
    others = []
    for entry in entries:
        score = Published(
            entry["name"], entry["score"], entry["metric"], entry["source"], 1 + sources.index(entry["source"])
        )
        share = entry.get("label_fraction")
        ours = [i for i, row in enumerate(rows) if _is_of(entry, row) and row.label_fraction == share]
        if ours:
            by_row.setdefault(ours[0], []).append(score)
        else:
            title = f"{score.name} (published)"
            others.append(Row(None, title, share, unsupervised=share is None, published=(score,)))
    rows = [Row(**{**vars(row), "published": tuple(by_row.get(i, ()))}) for i, row in enumerate(rows)]
    return rows, others


def _is_of(entry: Mapping[str, Any], row: Row) -> bool:
    """Whether a published score is of this row's method: by its key if it is given, else by the title."""
    return entry["method"] == row.method if entry.get("method") else entry["name"] == row.title


def _order(row: Row, metric: str) -> tuple[float, float]:
    """Unsupervised first (-1), then by share of labels; within these the best first, those without a score last."""
    share = -1.0 if row.unsupervised else 1.0 if row.label_fraction is None else row.label_fraction
    score = row.last.get(metric)
    if score is None:
        return share, math.inf
    return share, score.mean if metric in LOWER_IS_BETTER else -score.mean


def _columns(rows: Sequence[Row], metric: str) -> list[ScoreColumn]:
    known = {name for row in rows for name in (*row.last, *row.chosen)}
    instances = [name for name in sorted(known) if name.startswith(_INSTANCE_F1)]
    columns = [ScoreColumn(f"{metric_title(metric)}, {which}", which, metric) for which in ("last", "chosen")]
    for name in (*METRIC_TITLES, *instances):
        if name != metric:
            title = "Instance F1" if instances == [name] else metric_title(name)
            columns.append(ScoreColumn(title, "last", name))
    columns.append(ScoreColumn(f"{metric_title(metric)} on the source", "source", metric))
    return [column for column in columns if any(column.score(row) is not None for row in rows)]


def seed_scores(document: Mapping[str, Any], row: Row, checkpoint: str, metric: str) -> list[float]:
    """The score of each run of a row that has one."""
    scores = [run_score(run, checkpoint, metric) for run in runs_of(document, row)]
    return [score for score in scores if score is not None]


def run_score(run: Mapping[str, Any], checkpoint: str, metric: str) -> float | None:
    """A score of a run at its checkpoint "last" or "chosen"; None where there is no finite one."""
    score = (run["scores"].get(checkpoint) or {}).get(metric)
    return score if is_number(score) else None


def runs_of(document: Mapping[str, Any], row: Row) -> list[Mapping[str, Any]]:
    """The runs of a row, by seed."""
    runs = [r for r in document["runs"] if r["method"] == row.method and r["label_fraction"] == row.label_fraction]
    return sorted(runs, key=lambda run: run["seed"])
