"""Running the commands of planned runs, several at once, so that a stopped comparison goes on where it was."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crossem.comparison.plan import CHOSEN, LAST, Command, Run, difference, typed
from crossem.comparison.provenance import cpu_name, git_commit, versions
from crossem.comparison.results import (
    is_finished,
    read_record,
    record_file,
    request,
    result_file,
    run_result,
    write_json,
)
from crossem.errors import InputError
from crossem.io import check_output_folder

_POLL_SECONDS = 0.5
_SECONDS_TO_END = 10


@dataclass(frozen=True)
class Slot:
    """Where a run goes: the device's name, the CPU threads, and the environment variables that give it these."""

    device: str
    threads: int
    environment: dict[str, str]


@dataclass(frozen=True)
class Progress:
    """Epochs trained so far, over all runs."""

    epochs: int


@dataclass(frozen=True)
class RunEnded:
    """A run is finished, with its result, or has failed or been left out, with the reason."""

    run: Run
    result: dict[str, Any] | None
    reason: str = ""


def find_slots(jobs: int | None = None) -> list[Slot]:
    """One slot a GPU, or one on the CPU; ``jobs`` of them where it is given.

    With more jobs than GPUs, several share one. The CPU's threads are shared out, unless OMP_NUM_THREADS is set.

    Raises:
        InputError: when ``jobs`` is below 1, or OMP_NUM_THREADS no number of threads.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}: give 1 or more")
    gpus = torch.cuda.device_count()
    count = jobs or gpus or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpus else []
    names = visible if len(visible) >= gpus and visible != [""] else [str(number) for number in range(gpus)]
    threads = _threads(count)
    shared = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    if not gpus:
        return [Slot(f"CPU, {threads} thread{'s' if threads > 1 else ''}", threads, shared)] * count
    return [
        Slot(torch.cuda.get_device_name(gpu), threads, shared | {"CUDA_VISIBLE_DEVICES": names[gpu]})
        for gpu in (slot % gpus for slot in range(count))
    ]


def _threads(count: int) -> int:
    """CPU threads for each of ``count`` runs at once."""
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return max(1, len(os.sched_getaffinity(0)) // count)
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"OMP_NUM_THREADS is {given!r}: give a number of threads from 1, or unset it")
    return int(given)


def check_records(runs: Sequence[Run]) -> None:
    """See that what earlier runs trained was asked for with the same options, and started from the same weights.

    Raises:
        InputError: for the first run of which this is not so, with what differs and the folder to remove.
    """
    for run in runs:
        if run.training is None or (record := read_record(run)) is None:
            continue
        now, remedy = request(run), f"remove {run.folder}, or give another --work_dir"
        earlier = record.get("trainings", [])
        if earlier != now["trainings"]:
            raise InputError(f"{run.folder} is of other options, {difference(earlier, now['trainings'])}: {remedy}")
        for needed in run.needs:
            if now["needs"][needed.name] != record["needs"][needed.name]:
                raise InputError(
                    f"{run.folder} started from weights that {needed.weights(LAST)} holds no longer: {remedy}"
                )


@contextmanager
def locked(work_dir: Path) -> Iterator[int]:
    """Hold a folder for one comparison, and for the processes that it started, also when it is killed before them.

    Yields the descriptor that these processes have to inherit.

    Raises:
        InputError: when another comparison holds the folder.
    """
    path = check_output_folder(work_dir) / "lock"
    with path.open("w") as file:
        for _ in range(round(_SECONDS_TO_END / _POLL_SECONDS)):  # what a killed one started may be ending
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL_SECONDS)
        else:
            raise InputError(
                f"{work_dir} is in use by another comparison, or by a training that one left running (fuser -v {path} "
                "names it): wait, stop it, or give another --work_dir"
            )
        yield file.fileno()


def execute(runs: Sequence[Run], slots: Sequence[Slot], lock: int) -> Iterator[Progress | RunEnded]:
    """Run what is not finished, and tell how it goes: the progress first, then the runs that have ended.

    A run that fails does not stop the others, and those that need it are left out. Closing the iterator stops the
    processes; later runs go on from the checkpoints.

    Args:
        runs: each after those that it needs.
        slots: where they run, one in each at a time.
        lock: descriptor of the work folder's lock.
    """
    waiting = [run for run in runs if not is_finished(run)]
    finished = {run.folder for run in runs if run not in waiting}
    failed: set[Path] = set()
    jobs: dict[int, _Job] = {}
    trained = sum(run.epochs for run in runs if run.folder in finished)
    yield Progress(trained + _epochs_logged(waiting))  # of earlier runs, before any starts
    try:
        while waiting or jobs:
            for slot in set(range(len(slots))) - jobs.keys():
                if (run := _next_ready(waiting, finished)) is not None:
                    waiting.remove(run)
                    jobs[slot] = _Job(run, slots[slot], lock)
            ended = [event for job in jobs.values() if (event := job.poll()) is not None]
            ended += _left_out(waiting, failed | {event.run.folder for event in ended if not event.result})
            for event in ended:
                (finished if event.result else failed).add(event.run.folder)
                trained += event.run.epochs  # of one that failed nothing is left to do
            over = finished | failed
            jobs = {slot: job for slot, job in jobs.items() if job.run.folder not in over}
            waiting = [run for run in waiting if run.folder not in over]
            yield Progress(trained + _epochs_logged([*waiting, *(job.run for job in jobs.values())]))
            yield from ended
            if jobs:
                time.sleep(_POLL_SECONDS)
    finally:
        _stop([job.process for job in jobs.values() if job.process is not None])


def _epochs_logged(runs: Sequence[Run]) -> int:
    return sum(run.epochs_logged for run in runs)


def _left_out(waiting: Sequence[Run], failed: Set[Path]) -> list[RunEnded]:
    """Those of the waiting runs that need one that failed."""
    missing = {run.folder: [needed.name for needed in run.needs if needed.folder in failed] for run in waiting}
    return [
        RunEnded(run, None, f"left out, as it needs {missing[run.folder][0]}") for run in waiting if missing[run.folder]
    ]


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """End processes, gently at first."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _next_ready(waiting: Sequence[Run], finished: Set[Path]) -> Run | None:
    return next((run for run in waiting if all(needed.folder in finished for needed in run.needs)), None)


class _Job:
    """A run that is going on: its commands one after another, their output appended to ``run.log``."""

    def __init__(self, run: Run, slot: Slot, lock: int) -> None:
        self.run, self.slot, self.lock = run, slot, lock
        self.log = run.folder / "run.log"
        self.record: dict[str, Any] = {}
        self.done: list[str] = [typed(run.training)] if run.training else []
        self.steps = self._commands()
        self.process: subprocess.Popen | None = None

    def poll(self) -> RunEnded | None:
        """Start the next command when one has ended; the end of the run, or None while it goes on."""
        try:
            return self._go_on()
        except InputError as error:
            return RunEnded(self.run, None, f"failed: {error}")
        except (OSError, LookupError) as error:  # the disk, or a file that lacks what it has to hold
            return RunEnded(self.run, None, f"failed: {type(error).__name__}: {error}")

    def _go_on(self) -> RunEnded | None:
        code = self.process.poll() if self.process is not None else 0
        if code is None:
            return None
        if code:
            return RunEnded(self.run, None, f"failed: {_last_error(self.log, code)}; see {self.log}")
        self.process = self._start_next()
        if self.process is not None:
            return None
        result = run_result(self.run, self.done, self.record["started"])
        write_json(result, result_file(self.run))
        return RunEnded(self.run, result)

    def _commands(self) -> Iterator[Command]:
        """What is still to do, found out as it comes to it."""
        check_output_folder(self.run.folder)
        result_file(self.run).unlink(missing_ok=True)  # of other evaluations
        self.record = request(self.run) | {"started": self._training_starts() if self.run.is_started else []}
        if training := self.run.training_left():
            yield training
        for checkpoint, command in self.run.evaluations.items():
            # a training whose every validation score is undefined has chosen none
            if checkpoint != CHOSEN or self.run.weights(CHOSEN).is_file():
                self.done.append(typed(command))
                yield command

    def _training_starts(self) -> list[dict[str, Any]]:
        """How what is in the folder was trained; evaluations are all made again."""
        earlier = (read_record(self.run) or {}).get("started", [])
        return [start for start in earlier if start["command"].startswith(typed(self.run.training))]

    def _start_next(self) -> subprocess.Popen | None:
        command = next(self.steps, None)
        if command is None:
            return None
        self._note_start(command)
        with self.log.open("a") as log:
            log.write(f"$ {typed(command)}\n")
            log.flush()
            # in the process group of this program: what kills the group leaves none behind
            return subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.slot.environment,
                pass_fds=(self.lock,),
            )

    def _note_start(self, command: Command) -> None:
        """Keep with which code, libraries and machine a command is started."""
        machine = {"device": self.slot.device, "cpu": cpu_name(), "threads": self.slot.threads}
        start = {"command": typed(command), "commit": git_commit(), **machine, "versions": versions()}
        self.record["started"].append(start)
        write_json(self.record, record_file(self.run))


def _last_error(log: Path, code: int) -> str:
    """Why the last command of a log failed: the signal that ended it, or the line that tells."""
    if code < 0:
        return f"killed by signal {-code}{' (out of memory?)' if code == -signal.SIGKILL else ''}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    lines = lines[max(number for number, line in enumerate(lines) if line.startswith("$ ")) + 1 :]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or [f"exit status {code}"])[-1].removeprefix("error: ")
