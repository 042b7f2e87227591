"""Results of runs whose folders are not here, from the JSON of a comparison, so that a clone can add to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossem.comparison.plan import Run, typed
from crossem.comparison.results import record_file, run_key
from crossem.data._validation import read_json
from crossem.errors import InputError


def earlier_document(path: Path, runs: Sequence[Run], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The document that is to be written again, with those of its results that still are what the plan asks for.

    Args:
        path: of the document; None is returned where there is no file.
        runs: all of the plan.
        data: the facts about the data, as they go into the document.

    Raises:
        InputError: when a result would be lost, as its run has no folder and is not planned, or by other commands, or
            was scored on other data; or when the file holds something else.
    """
    if not path.is_file():
        return None
    remedy = "give another --output, or remove that file"
    planned = {run.key: run for run in runs}
    try:
        document = read_json(path, "results")
        held = {run_key(result): result for result in document["runs"]}
        kept = {key: result for key, result in held.items() if key in planned and _is_of(result, planned[key])}
        checksums = document["data"]["sha256"]
    except (LookupError, TypeError) as error:
        raise InputError(f"{path} holds no results of a comparison; {remedy}") from error
    here = {key for key, run in planned.items() if record_file(run).is_file()}
    if lost := [key for key in held if key not in here | kept.keys()]:
        method, fraction, seed = lost[0]
        raise InputError(
            f"{path} holds runs that are neither in {runs[0].folder.parent} nor planned with the same commands "
            f"({len(lost)}, the first: {method}, label fraction {fraction}, seed {seed}); {remedy}"
        )
    if kept.keys() - here and checksums != data["sha256"]:
        changed = [name for name, value in data["sha256"].items() if checksums.get(name) != value] or list(checksums)
        raise InputError(f"{path} holds runs on other data ({changed[0]} differs), which are not here; {remedy}")
    return document | {"runs": list(kept.values())}


def runs_to_do(runs: Sequence[Run], earlier: Mapping[str, Any] | None) -> list[Run]:
    """Those of some runs that have no earlier result, and all that these need, as weights are not in a document.

    Args:
        runs: each after those that it needs, which are among them.
        earlier: as ``earlier_document`` returns it.
    """
    kept = {run_key(result) for result in earlier["runs"]} if earlier else set()
    todo = [run for run in runs if run.key not in kept or record_file(run).is_file()]
    needed = {before.folder for run in todo for before in run.lineage}
    return [run for run in runs if run.folder in needed]


def _is_of(result: Mapping[str, Any], run: Run) -> bool:
    """Whether a result came from the commands of a run, of which the chosen checkpoint's evaluation may be missing."""
    training, *evaluations = result["commands"]
    return training == typed(run.training) and set(evaluations) <= set(map(typed, run.evaluations.values()))
