"""The report of a comparison of methods: Markdown, one self-contained HTML page and a figure."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from crossem.errors import InputError
from crossem.io import atomic_output, check_output_folder
from crossem.report.comparison_figures import bar_figure, comparison_figure, share_figure, training_figure
from crossem.report.comparison_overlays import overlay_panels
from crossem.report.comparison_table import (
    LOWER_IS_BETTER,
    MISSING,
    ComparisonTable,
    Row,
    comparison_table,
    run_score,
    runs_of,
)
from crossem.report.curve import FIGURE_STYLE
from crossem.report.overlay import class_colours, save_figure
from crossem.report.picture import Picture, embedded_picture

_UNKNOWN = "unknown"
_NAMES_SHOWN = 6  # of runs that are missing; more are folded away


def write_report(
    document: Mapping[str, Any],
    overlays: Mapping[str, np.ndarray],
    image: np.ndarray | None,
    truth: np.ndarray | None,
    output: Path,
) -> list[Path]:
    """Write ``<name>.md``, ``<name>.html`` and, once there is a score, ``<name>.png``; return their paths.

    Args:
        document: results of ``tools/compare_methods.py``, also of a comparison that is not finished.
        overlays: method title (with a share of labels: "title, 15 %") -> (Z, Y, X) class indices.
        image: (Z, Y, X) grey values below the overlays; None for a report without pictures.
        truth: (Z, Y, X) class indices, or None.
        output: folder, created when it does not exist.

    Raises:
        InputError: the name is no plain file name, a volume is not of the image's shape, or the folder cannot be
            written.
    """
    name = document["name"]
    if Path(name).name != name:
        raise InputError(f"the comparison is called {name!r}; give it a plain file name")
    check_output_folder(output)
    table = comparison_table(document)
    pictures = {} if image is None else overlay_panels(image, truth, overlays, _captions(table, document))
    figure = comparison_figure(table, document)
    written = [] if figure is None else [save_figure(figure, output / f"{name}.png")]
    context = _shared_context(table, document)
    names = {"html": f"{name}.html", "figure": written[0].name if written else None}
    pages = {
        f"{name}.md": ("comparison.md", context | names | {"figure_alt": _bars_alt(table)}),
        f"{name}.html": ("comparison.html", context | _page_context(table, document, pictures)),
    }
    return [_write(output / file, *page) for file, page in pages.items()] + written


def _write(path: Path, template: str, context: Mapping[str, Any]) -> Path:
    environment = Environment(
        loader=PackageLoader("crossem.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": _markdown, "fenced": _fenced}
    text = environment.get_template(template).render(context)
    with atomic_output(path, path.suffix) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _shared_context(table: ComparisonTable, document: Mapping[str, Any]) -> dict[str, Any]:
    """What Markdown and HTML both show."""
    missing = document.get("missing") or []
    return {
        "document": document,
        "table": table,
        "cells_by_row": [table.cells(row) for row in table.rows],
        "table_note": _table_note(table),
        "protocol": _protocol(table, document),
        "note": document["protocol"].get("note"),
        "progress": _progress(document),
        "missing": missing,
        "fold_missing": len(missing) > _NAMES_SHOWN,
        "command": document["command"],
        "facts": _facts(document),
    }


def _page_context(
    table: ComparisonTable, document: Mapping[str, Any], pictures: Mapping[int, Sequence[Picture]]
) -> dict[str, Any]:
    """What only HTML shows."""
    groups = [(row.method is None, row.unsupervised) for row in table.rows]
    runs = [_run(table, row, run) for row in table.rows if row.method for run in runs_of(document, row)]
    return {
        "group_starts": [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]],
        "charts": _charts(table, document),
        "overlays": [{"z": z, "panels": panels} for z, panels in pictures.items()],
        "panel_columns": 4 if max(map(len, pictures.values()), default=0) <= 8 else 5,
        "overlay_note": "Last checkpoint of each method on the same slices of the target, with its score on all that "
        "was scored.",
        "legend": _legend(document),
        "run_header": ["Run", "Seed", f"{table.metric_title}, last", f"{table.metric_title}, chosen", "Chosen epoch",
                       "Seconds", "Device", "Commit"],
        "runs": runs,
        "spec_yaml": _yaml(document["spec"]),
        "volumes_yaml": _yaml(document["data"]["volumes"]) if document["data"].get("volumes") else None,
        "provenance": document["data"].get("provenance") or {},
    }  # fmt: skip


def _yaml(content: Mapping[str, Any]) -> str:
    """Lists of numbers in one line, all else a line each."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
    """Under which conditions the runs were done."""
    commits, machine = document.get("commits") or [], document["machine"] or {}
    mixed = {"Commits of the runs": ", ".join(map(_short, commits))} if set(commits) - {document["commit"]} else {}
    return {
        "Commit": document["commit"] or _UNKNOWN,
        **mixed,
        "Date": document["finished"] or "not finished",
        "Machine": ", ".join(f"{key}: {value}" for key, value in machine.items()) or _UNKNOWN,
        "Checkpoints": document["protocol"]["selection"],
    }


def _progress(document: Mapping[str, Any]) -> str:
    finished = len(document["runs"])
    return f"{finished} of {finished + len(document.get('missing') or [])} runs are finished"


def _protocol(table: ComparisonTable, document: Mapping[str, Any]) -> str:
    """One line: data, what every training was given, seeds, bundles."""
    spec, data = document["spec"], document["data"]
    seeds = sorted({seed for row in table.rows for seed in row.seeds})
    bundles = dict.fromkeys(method["bundle"] for method in spec["methods"].values())
    options = [f"{key} {value}" for key, value in (spec.get("options") or {}).items()]
    parts = [
        f"Data: {data['datalist']}, scored on the {data['split']} part of the target",
        f"every training: {', '.join(options) or 'the defaults of its bundle'}",
        f"seeds: {', '.join(map(str, seeds)) or 'none finished'}",
        f"bundles: {', '.join(bundles)}",
    ]
    return "; ".join(parts) + "."


def _table_note(table: ComparisonTable) -> str:
    shown = {column.metric for column in table.columns}
    notes = [
        "Scores on the target: mean ± sample standard deviation over the seeds, at the last checkpoint where no other "
        "is named. Epochs: of the training and of all that it needs, from source only to a translator."
    ]
    if any(column.kind == "source" for column in table.columns):
        notes.append("On the source: the last checkpoint on the source's validation volumes.")
    if lower := [c.title for c in table.columns if c.metric in LOWER_IS_BETTER]:
        notes.append(f"Lower is better for {' and '.join(lower)}.")
    if "variation_of_information" in shown:
        notes.append("VOI: variation of information.")
    notes.append("Bold: the best of the methods that use no target labels.")
    return " ".join(notes)


def _charts(table: ComparisonTable, document: Mapping[str, Any]) -> dict[str, Picture | None]:
    metric = table.metric_title
    by_share = [row.label_fraction is not None for row in table.rows]
    training = [
        training_figure([row for row, has in zip(table.rows, by_share, strict=True) if has == wanted], document)
        for wanted in (False, True)
    ]
    explained = (
        "Loss (above, each on its own scale) and mean IoU on the validation volumes of the training (below): those of "
        "the source, or of the target for methods that train on its labels. A ring marks the chosen epoch."
    )
    return {
        "bars": _chart(
            bar_figure(table, document),
            _bars_alt(table),
            f"{metric} on the target of the methods that take no share of labels: mean, sample standard deviation "
            "(whiskers), seeds (dots), published scores (diamonds).",
        ),
        "shares": _chart(
            share_figure(table),
            f"Line chart of {metric} over the share of target labels; the numbers are in the table.",
            f"{metric} of the last checkpoint over the share of the target's training labels: mean and sample standard "
            "deviation (whiskers, band). Dashed: methods that take no share.",
        ),
        "training": _chart(training[0], "Small line charts of loss and validation score of each method.", explained),
        "training_shares": _chart(
            training[1],
            "Small line charts of loss and validation score of each method and share of labels.",
            "The same for each share of the target's labels.",
        ),
    }


def _chart(figure: Figure | None, alt: str, caption: str) -> Picture | None:
    if figure is None:
        return None
    buffer = io.BytesIO()
    with rc_context(FIGURE_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return embedded_picture(buffer.getvalue(), "image/svg+xml", alt, caption)


def _bars_alt(table: ComparisonTable) -> str:
    rows = [row for row in table.rows if row.label_fraction is None and table.metric in row.last]
    scores = ", ".join(f"{row.title} {row.last[table.metric].mean:.2f}" for row in rows)
    return f"Bar chart of {table.metric_title}, last checkpoint: {scores or 'none'}"


def _captions(table: ComparisonTable, document: Mapping[str, Any]) -> dict[str, str]:
    """Label of a row -> the same with the score of the spec's first seed, whose segmentation is shown."""
    first = (document["spec"].get("seeds") or [0])[0]
    captions = {}
    for row in table.rows:
        scores = [run_score(run, "last", table.metric) for run in runs_of(document, row) if run["seed"] == first]
        known = [f", {table.metric_title} {score:.3f}" for score in scores if score is not None]
        captions[row.label] = row.label + "".join(known)
    return captions


def _legend(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name and colour of each foreground class, whose scores are kept in the order of the classes."""
    scores = document["runs"][0]["scores"]["last"] if document["runs"] else {}
    names = [key.removeprefix("iou_") for key in scores if key.startswith("iou_") and key != "iou_background"]
    colours = class_colours(len(names))
    return [{"name": name, "colour": to_hex(colour)} for name, colour in zip(names, colours, strict=True)]


def _run(table: ComparisonTable, row: Row, run: Mapping[str, Any]) -> dict[str, Any]:
    scores = [run_score(run, checkpoint, table.metric) for checkpoint in ("last", "chosen")]
    shown = [MISSING if score is None else f"{score:.3f}" for score in scores]
    epoch = MISSING if run.get("chosen_epoch") is None else run["chosen_epoch"]
    cells = [run["seed"], *shown, epoch, f"{run['seconds']:.0f}", run["device"], _short(run["commit"])]
    return {"label": row.label, "seed": run["seed"], "cells": cells, "commands": run["commands"]}


def _short(commits: str | None) -> str:
    """The first digits of a run's commits, and whether files differed from them ("-dirty"); None outside a checkout."""
    parts = [commit.partition("-") for commit in (commits or _UNKNOWN).split(", ")]
    return ", ".join(digits[:12] + dash + state for digits, dash, state in parts)


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is, also in a table."""
    return re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _fenced(text: str) -> str:
    """A code block, its fence longer than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
