"""The result of a run, the mean over seeds, and the document that holds all of a comparison."""

from __future__ import annotations

import datetime
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossem.comparison.plan import CHOSEN, LAST, Key, Run, typed
from crossem.comparison.provenance import file_sha256
from crossem.comparison.spec import Spec
from crossem.io import atomic_output
from crossem.methods.checkpoint import CHECKPOINT
from crossem.networks import load_torch_file

METRIC = "mean_iou"
SOURCE = "source"
SELECTION = (
    "last: the weights after the last epoch. chosen: those of the epoch with the best mean IoU on the source's "
    "validation volumes. No target label is used for either choice."
)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, whole or not at all."""
    with atomic_output(path, path.suffix) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def result_file(run: Run) -> Path:
    """Where the result of a run is kept."""
    return run.folder / "result.json"


def record_file(run: Run) -> Path:
    """Where it is kept what a run came from: its request, and each of its commands as it was started."""
    return run.folder / "commands.json"


def read_record(run: Run) -> dict[str, Any] | None:
    """What is in a run's folder came from this; None where there is nothing yet."""
    path = record_file(run)
    return json.loads(path.read_text()) if path.is_file() else None


def request(run: Run) -> dict[str, Any]:
    """What a run's result is of: all trainings, the evaluations, and the weights of the runs that it needs, by SHA-256.

    The checksum is null where there are no such weights (any more).
    """
    weights = {needed.name: needed.weights(LAST) for needed in run.needs}
    return {
        "trainings": run.history,
        "evaluations": [typed(command) for command in run.evaluations.values()],
        "needs": {name: file_sha256(path) if path.is_file() else None for name, path in weights.items()},
    }


def is_finished(run: Run) -> bool:
    """Whether a run's folder holds a result, and it is of what the run asks for now."""
    record = read_record(run)
    if record is None or not result_file(run).is_file():
        return False
    return all(record.get(key) == value for key, value in request(run).items())


def run_result(run: Run, commands: Sequence[str], started: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The result of a run whose commands have ended: scores on the target, chosen epoch, curves, seconds.

    ``seconds`` are those of the training loops, also of one that was resumed, without what starting took. Scores that
    are not finite are null. Commit and device are those of when the commands were started: where they differ, all,
    with commas.
    """
    scores = {
        checkpoint: _finite(json.loads(run.scores_file(checkpoint).read_text())["scores"])
        for checkpoint in run.evaluations
        if run.scores_file(checkpoint).is_file()
    }
    checkpoint = run.trained.folder / CHECKPOINT
    best = load_torch_file(checkpoint)["parts"]["best_score"]["epoch"] if CHOSEN in scores else None
    return {
        "method": run.method,
        "label_fraction": run.label_fraction,
        "seed": run.seed,
        "commands": list(commands),
        "scores": {LAST: scores[LAST], CHOSEN: scores.get(CHOSEN)},
        "chosen_epoch": best,
        "curves": _curves(run.stages[-1].log()) if run.stages else {},
        "seconds": round(sum(float(stage.log()[-1]["seconds"]) for stage in run.stages), 1),
        "device": ", ".join(_distinct(started, "device")),
        "commit": ", ".join(_distinct(started, "commit")) or None,
    }


def summary(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over seeds, of every score of each method and label fraction.

    Beside those on the target the one of the last epoch on the source's validation volumes, of methods of which a
    checkpoint is chosen there. The deviation is null with one seed. Both are null where a seed has no value (the
    precision of an empty prediction): a mean of the others would flatter.
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
            SOURCE: _mean_and_std([_source_score(result) for result in group]),
        }
        for (method, fraction), group in groups.items()
    ]


def comparison_document(
    spec: Spec, facts: Mapping[str, Any], runs: Sequence[Run], earlier: Mapping[Key, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """All that is known of a comparison, from those of its runs that are finished.

    Args:
        spec: what was asked for.
        facts: "command" and "data", as they go into the document.
        runs: all of the plan.
        earlier: results that stand for runs that are not finished here, by their keys.

    Commit, machine and versions are those of the last run that was finished here, null where there is none.
    """
    finished = [run for run in runs if is_finished(run)]
    known = {**(earlier or {}), **{run.key: json.loads(result_file(run).read_text()) for run in finished}}
    results = [known[run.key] for run in runs if run.key in known]
    latest = max(finished, key=_end, default=None)
    start = read_record(latest)["started"][-1] if latest else None
    return {
        "name": spec.name,
        "title": spec.title,
        **facts,
        "commit": start and start["commit"],
        "commits": list(
            dict.fromkeys(commit for result in results for commit in (result["commit"] or "").split(", ") if commit)
        ),
        "machine": start and {key: start[key] for key in ("device", "cpu", "threads")},
        "versions": start and start["versions"],
        "finished": latest and datetime.date.fromtimestamp(_end(latest)).isoformat(),
        "protocol": {"selection": SELECTION, "metric": METRIC, "note": spec.note},
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "published": [entry.model_dump(exclude_none=True) for entry in spec.published],
        "methods": {
            run.method: {
                "title": spec.methods[run.method].title,
                "epochs": sum(member.epochs for member in run.lineage),
            }
            for run in runs
        },
        "summary": summary(results),
        "missing": [run.name for run in runs if run.key not in known],
        "runs": results,
    }


def _end(run: Run) -> float:
    return result_file(run).stat().st_mtime


def _distinct(entries: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """The different values that entries have, without null, in the order of their coming."""
    return list(dict.fromkeys(entry[key] for entry in entries if entry[key] is not None))


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _curves(rows: Sequence[Mapping[str, str]]) -> dict[str, list[float | None]]:
    columns = {"loss": "loss", "validation_mean_iou": "validation_mean_iou"}
    curves: dict[str, list[float | None]] = {"epoch": [int(row["epoch"]) for row in rows]}
    return curves | {name: [_number(row.get(column)) for row in rows] for name, column in columns.items()}


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _source_score(result: Mapping[str, Any]) -> dict[str, float | None] | None:
    """What the training's own validation gave at the end, where it is the source's: there a checkpoint is chosen."""
    if result["scores"][CHOSEN] is None or not result["curves"]:
        return None
    return {METRIC: result["curves"]["validation_mean_iou"][-1]}


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
