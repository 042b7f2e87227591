"""The result of a run, the mean over seeds, and the document that holds all of a comparison."""

from __future__ import annotations

import datetime
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossem.comparison.plan import CHOSEN, LAST, Run
from crossem.comparison.provenance import git_commit
from crossem.comparison.spec import Spec
from crossem.io import atomic_output
from crossem.methods.checkpoint import CHECKPOINT
from crossem.networks import load_torch_file

METRIC = "mean_iou"
SELECTION = (
    "last: the weights after the last epoch. chosen: those of the epoch with the best mean IoU on the source's "
    "validation volumes. No target label is used for either choice."
)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, whole or not at all."""
    with atomic_output(path, path.suffix) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def result_file(run: Run) -> Path:
    """Where the result of a run is kept; the run is finished once it is there."""
    return run.folder / "result.json"


def run_result(run: Run, commands: Sequence[str], device: str) -> dict[str, Any]:
    """The result of a run whose commands have ended: scores on the target, chosen epoch, curves, seconds.

    ``seconds`` are those of the training loops, also of one that was resumed, without what starting took. Scores that
    are not finite are null.
    """
    scores = {
        checkpoint: _finite(json.loads(run.scores_file(checkpoint).read_text())["scores"])
        for checkpoint in run.evaluations
        if run.scores_file(checkpoint).is_file()
    }
    best = load_torch_file(run.folder / CHECKPOINT)["parts"]["best_score"]["epoch"] if CHOSEN in scores else None
    return {
        "method": run.method,
        "label_fraction": run.label_fraction,
        "seed": run.seed,
        "commands": list(commands),
        "scores": {LAST: scores[LAST], CHOSEN: scores.get(CHOSEN)},
        "chosen_epoch": best,
        "curves": _curves(run.stages[-1].log()),
        "seconds": round(sum(float(stage.log()[-1]["seconds"]) for stage in run.stages), 1),
        "device": device,
        "commit": git_commit(),
    }


def summary(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over seeds, of every score of each method and label fraction.

    The deviation is null with one seed. Both are null where a seed has no value (the precision of an empty prediction):
    a mean of the others would flatter.
    """
    groups: dict[tuple[str, float | None], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["method"], result["label_fraction"]), []).append(result)
    return [
        {
            "method": method,
            "label_fraction": fraction,
            "seeds": [result["seed"] for result in group],
            LAST: _mean_and_std([result["scores"][LAST] for result in group]),
            CHOSEN: _mean_and_std([result["scores"][CHOSEN] for result in group]),
        }
        for (method, fraction), group in groups.items()
    ]


def comparison_document(spec: Spec, facts: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """All that is known of a comparison, from those of its runs that are finished.

    Args:
        spec: what was asked for.
        facts: "command", "commit", "machine", "versions" and "data", as they go into the document.
        runs: all of the plan.
    """
    finished = [run for run in runs if result_file(run).is_file() and read_history(run) == run.history]
    results = [json.loads(result_file(run).read_text()) for run in finished]
    latest = max((result_file(run).stat().st_mtime for run in finished), default=None)
    return {
        "name": spec.name,
        "title": spec.title,
        **facts,
        "finished": None if latest is None else datetime.date.fromtimestamp(latest).isoformat(),
        "protocol": {"selection": SELECTION, "metric": METRIC},
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "published": [entry.model_dump(exclude_none=True) for entry in spec.published],
        "methods": {name: {"title": method.title} for name, method in spec.methods.items()},
        "summary": summary(results),
        "runs": results,
    }


def history_file(run: Run) -> Path:
    """Where the commands of a run are kept from its start on, to tell whether they are still the same."""
    return run.folder / "commands.json"


def read_history(run: Run) -> list[str] | None:
    """The commands that what is in a run's folder came from; None where there is nothing yet."""
    path = history_file(run)
    return json.loads(path.read_text())["commands"] if path.is_file() else None


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _curves(rows: Sequence[Mapping[str, str]]) -> dict[str, list[float | None]]:
    columns = {"loss": "loss", "validation_mean_iou": "validation_mean_iou"}
    curves: dict[str, list[float | None]] = {"epoch": [int(row["epoch"]) for row in rows]}
    return curves | {name: [_number(row.get(column)) for row in rows] for name, column in columns.items()}


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _mean_and_std(scores: Sequence[Mapping[str, float | None] | None]) -> dict[str, dict[str, float | None]] | None:
    if None in scores:
        return None
    summary = {}
    for name in scores[0]:
        values = [seed.get(name) for seed in scores]
        known = None not in values
        summary[name] = {
            "mean": statistics.fmean(values) if known else None,
            "std": statistics.stdev(values) if known and len(values) > 1 else None,
        }
    return summary
