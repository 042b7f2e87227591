"""Results from the JSON of a comparison, of runs that are not finished here, so that a clone can add to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from crossem.comparison.plan import Key, Run, difference, typed, with_needed
from crossem.comparison.results import is_finished
from crossem.data._validation import read_json, validated
from crossem.errors import InputError

_COMPARED = ("classes", "split", "volumes", "sha256")  # what results are of; provenance is only told


class _Scores(BaseModel):
    last: dict[str, Any]
    chosen: dict[str, Any] | None


class _Result(BaseModel):
    """What has to be in a result."""

    method: str
    label_fraction: float | None
    seed: int
    commands: Annotated[list[str], Field(min_length=1)]
    scores: _Scores
    curves: dict[str, Any]
    commit: str | None

    @property
    def key(self) -> Key:
        return self.method, self.label_fraction, self.seed


class _Document(BaseModel):
    data: dict[str, Any]
    runs: list[_Result]


def earlier_results(path: Path, runs: Sequence[Run], data: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    """The results in a document that is to be written again, of runs that are not finished here, by the runs' keys.

    Args:
        path: of the document; where there is no file, there are no results.
        runs: all of the plan.
        data: the facts about the data, as they go into the document.

    Raises:
        InputError: when such a result would be lost, as it is not of the plan, of other commands, or of other data; or
            when the file holds something else.
    """
    if not path.is_file():
        return {}
    content = read_json(path, "results")
    document = validated(_Document, content, f"results {path}")
    planned = {run.key: run for run in runs}
    finished = {run.key for run in runs if is_finished(run)}
    held = {result.key: result for result in document.runs}
    kept = {key: result for key, result in held.items() if key not in finished}
    for key in kept:
        name = f"{path}: it holds {_name(key)}"
        if key not in planned:
            seed = "" if key[-1] in {run.seed for run in runs} else "that seed too (--seeds), or "
            raise InputError(f"{name}, which is not asked for: give {seed}another --output")
        for run in planned[key].lineage:
            if run.key in held and (what := _other_options(held[run.key], run)):
                raise InputError(f"{name}, of other options, {what}: give another --output")
    if kept and (other := _different(document.data, data)):
        raise InputError(
            f"{path}: its results are of other data ({other} differs): get or make that again, or give another --output"
        )
    return {result.key: raw for result, raw in zip(document.runs, content["runs"], strict=True) if result.key in kept}


def runs_to_do(runs: Sequence[Run], earlier: Mapping[Key, Any]) -> list[Run]:
    """Those of some runs that have no earlier result, and all that these need: there are no weights in a document.

    Args:
        runs: each after those that it needs, which are among them.
        earlier: as ``earlier_results`` gives it.
    """
    return with_needed(runs, [run for run in runs if run.key not in earlier])


def _other_options(result: _Result, run: Run) -> str | None:
    """What differs between a result's commands and those of a run; one that has chosen no checkpoint scored none."""
    now = [typed(command) for command in run.commands(with_chosen=result.scores.chosen is not None)]
    return difference(result.commands, now) if result.commands != now else None


def _name(key: Key) -> str:
    method, fraction, seed = key
    return f"{method}, {'' if fraction is None else f'label fraction {fraction:g}, '}seed {seed}"


def _different(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first fact that differs; of checksums, the file."""
    for fact in _COMPARED:
        before, after = earlier.get(fact), now.get(fact)
        if before != after and fact == "sha256" and isinstance(before, dict):
            return next(name for name in {**after, **before} if before.get(name) != after.get(name))
        if before != after:
            return fact
    return None
