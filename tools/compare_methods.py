"""Compare methods: run every method, seed and label fraction of a spec, score the target, write the report.

A finished run is not repeated, a stopped one goes on from its checkpoint: type the same command again.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from crossem import InputError
from crossem.comparison import (
    METRIC,
    Key,
    Run,
    RunEnded,
    Slot,
    Spec,
    check_labels,
    check_records,
    comparison_document,
    data_facts,
    earlier_results,
    execute,
    find_datalist,
    find_slots,
    is_finished,
    load_spec,
    locked,
    plan_runs,
    runs_to_do,
    selected_runs,
    shown_runs,
    shown_volumes,
    typed,
    with_seeds,
    write_json,
)
from crossem.io import check_output_folder
from crossem.report.comparison import write_report

SPECS = Path(__file__).with_name("specs")
DONE, FAILED = 0, 1


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _compare(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def _interrupt(number: int, frame: object) -> None:
    """End as Ctrl-C does, so that children are stopped."""
    raise KeyboardInterrupt(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", help=f"one of {_shipped()}, or the path of a YAML file")
    parser.add_argument("--work_dir", type=Path, help="folder of the runs (default: runs/NAME of the spec)")
    parser.add_argument("--output", type=Path, help="folder of the report (default: that of the runs)")
    parser.add_argument("--methods", nargs="+", help="only these, and those that they need")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these; more than the spec has can be given")
    parser.add_argument(
        "--label_fractions", nargs="+", type=float, help="only these, of methods that have some; 0: without"
    )
    parser.add_argument("--jobs", type=int, help="runs at once (default: one a GPU, or one on the CPU)")
    parser.add_argument("--dry_run", action="store_true", help="name what would be trained and scored, and end")
    return parser


def _find_spec(name: str) -> Path:
    shipped = SPECS / f"{name}.yaml"
    if not shipped.is_file() and not Path(name).is_file():
        raise InputError(f"spec {name!r} is neither a file nor one of {_shipped()}; give one of these")
    return shipped if shipped.is_file() else Path(name)


def _shipped() -> str:
    return ", ".join(sorted(path.stem for path in SPECS.glob("*.yaml")))


def _compare(arguments: argparse.Namespace) -> int:
    as_written = load_spec(_find_spec(arguments.spec))
    spec = with_seeds(as_written, arguments.seeds or ())
    work_dir = arguments.work_dir or Path("runs") / spec.name
    output = arguments.output or work_dir
    datalist = find_datalist(spec)
    plan = plan_runs(spec, datalist, work_dir)
    runs = selected_runs(plan, arguments.methods, arguments.seeds, arguments.label_fractions)
    json_file = output / f"{spec.name}.json"
    slots = find_slots(arguments.jobs)
    facts = {"command": _command(spec, as_written, arguments.spec), "data": data_facts(datalist, spec.split)}
    check_labels(datalist, runs)
    if arguments.dry_run:
        _tell(runs, runs_to_do(runs, _earlier(json_file, work_dir, plan, facts["data"])), json_file)
        return DONE
    check_output_folder(output)

    def write_document() -> dict:
        document = comparison_document(spec, facts, plan, earlier)
        if document["finished"] or not earlier:  # else it would only lose where the earlier results are from
            write_json(document, json_file)
        return document

    with locked(work_dir) as lock:
        earlier = _earlier(json_file, work_dir, plan, facts["data"])
        if earlier:
            print(f"{len(earlier)} results are those in {json_file}, as their runs are not here")
        runs = runs_to_do(runs, earlier)
        check_records(runs)
        failures = _run(runs, slots, lock, write_document)
        image, truth, predictions = shown_volumes(datalist, spec.split, shown_runs(spec, plan))
        document = write_document()
    if not runs:
        print(f"nothing to do; {json_file} is as it was")
    elif document["finished"]:
        written = write_report(document, predictions, image, truth, output)
        print(f"wrote {', '.join(map(str, (json_file, *written)))}")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return FAILED if failures else DONE


def _earlier(json_file: Path, work_dir: Path, plan: Sequence[Run], data: Mapping[str, Any]) -> dict[Key, Any]:
    """The results to add to; beside the runs, the JSON holds nothing that they do not."""
    return {} if json_file.parent.resolve() == work_dir.resolve() else earlier_results(json_file, plan, data)


def _tell(runs: Sequence[Run], to_do: Sequence[Run], json_file: Path) -> None:
    """A line for each run, and the commands of those that are to be done."""
    check_records(to_do)
    for run in runs:
        if is_finished(run):
            print(f"{run.name}: finished")
        elif run not in to_do:
            print(f"{run.name}: its result is in {json_file}")
        else:
            training = run.training_left()
            state = f"{run.epochs_logged} of {run.epochs} epochs trained; to do:" if training else "to be scored:"
            commands = [*([training] if training else []), *run.evaluations.values()]
            print(f"{run.name}: {state}", *(f"  {typed(command)}" for command in commands), sep="\n")


def _command(spec: Spec, as_written: Spec, given: str) -> str:
    """The command that makes all of a spec, named as it was given, with the seeds that were added to it."""
    seeds = f" --seeds {' '.join(map(str, spec.seeds))}" if spec != as_written else ""
    return f"python tools/compare_methods.py {shlex.quote(given)}{seeds}"


def _run(runs: Sequence[Run], slots: Sequence[Slot], lock: int, write_document: Callable[[], object]) -> list[str]:
    """Run all, with a bar of epochs and a line a finished run; one line for each that failed or was left out."""
    failures = []
    total, before, done = sum(run.epochs for run in runs), 0, 0
    begin, bar = time.monotonic(), None  # made when the epochs of earlier runs are known, no part of the estimate
    with closing(execute(runs, slots, lock)) as events:
        for event in events:
            if isinstance(event, RunEnded):
                failures += [] if event.result else [f"{event.run.name}: {event.reason}"]
                progress = f"; {_progress(before, done, total, time.monotonic() - begin)}" if total else ""
                tqdm.write(f"{_line(event)}{progress}")
                sys.stdout.flush()
                write_document()
                continue
            done = event.epochs
            if bar is None:
                before = done
                bar = tqdm(total=total, initial=before, unit="epoch", smoothing=0, disable=None)
            bar.update(done - bar.n)
    if bar is not None:
        bar.close()
    return failures


def _progress(before: int, done: int, total: int, seconds: float) -> str:
    """The share of epochs that is done, and the time that the others take at the rate since ``before``."""
    left = f", about {tqdm.format_interval(seconds * (total - done) / (done - before))} left" if done > before else ""
    return f"{done / total:.0%} done{left}"


def _line(event: RunEnded) -> str:
    if event.result is None:
        return f"{event.run.name}: {event.reason}"
    scores = {which: known[METRIC] for which, known in event.result["scores"].items() if known}
    parts = [f"{which} {'undefined' if score is None else f'{score:.3f}'}" for which, score in scores.items()]
    return f"{event.run.name}: IoU {', '.join(parts)}, {event.result['seconds']:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
