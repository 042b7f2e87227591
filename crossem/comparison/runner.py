"""Running the commands of planned runs, several at once, so that a stopped comparison goes on where it was."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crossem.comparison.plan import CHOSEN, WEIGHTS, Command, Run, typed
from crossem.comparison.provenance import cpu_name
from crossem.comparison.results import (
    history_file,
    read_history,
    result_file,
    run_result,
    write_json,
)
from crossem.errors import InputError
from crossem.io import check_output_folder

_POLL_SECONDS = 0.5
_SECONDS_TO_END = 10


@dataclass(frozen=True)
class Machine:
    """Where runs go: the device, the CPU threads of each run, and one set of environment variables a slot."""

    device: str
    threads: int
    slots: tuple[dict[str, str], ...]

    @property
    def facts(self) -> dict[str, Any]:
        return {"device": self.device, "cpu": cpu_name(), "threads": self.threads}


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


def find_machine(jobs: int | None = None) -> Machine:
    """The GPUs, each with one run at a time, or the CPU with one; ``jobs`` at once where it is given.

    With more jobs than GPUs, several share one. The CPU's threads are shared out, unless OMP_NUM_THREADS is set.

    Raises:
        InputError: when ``jobs`` is below 1.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}: give 1 or more")
    gpus = torch.cuda.device_count()
    count = jobs or gpus or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpus else []
    names = visible if len(visible) >= gpus and visible != [""] else [str(number) for number in range(gpus)]
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, len(os.sched_getaffinity(0)) // count))
    shared = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    slots = [shared | ({"CUDA_VISIBLE_DEVICES": names[slot % gpus]} if gpus else {}) for slot in range(count)]
    device = torch.cuda.get_device_name(0) if gpus else f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    return Machine(device, threads, tuple(slots))


def check_histories(runs: Sequence[Run]) -> None:
    """See that what earlier runs left was asked for with the same commands.

    Raises:
        InputError: for the first run of which it was not, with what differs.
    """
    for run in runs:
        earlier = read_history(run)
        if earlier is not None and earlier != run.history:
            raise InputError(
                f"{run.folder} is of other options, {_difference(earlier, run.history)}: remove that folder, or give "
                "another --work_dir"
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


def execute(runs: Sequence[Run], machine: Machine, lock: int) -> Iterator[Progress | RunEnded]:
    """Run what is not finished, and tell how it goes.

    A run that fails does not stop the others, and those that need it are left out. Closing the iterator stops the
    processes; later runs go on from the checkpoints.

    Args:
        runs: each after those that it needs.
        machine: where they run.
        lock: descriptor of the work folder's lock.
    """
    waiting = [run for run in runs if not result_file(run).is_file()]
    failed: set[Path] = set()
    jobs: dict[int, _Job] = {}
    trained = sum(run.epochs for run in runs if run not in waiting)
    try:
        while waiting or jobs:
            for ended in _left_out(waiting, failed):
                waiting.remove(ended.run)
                failed.add(ended.run.folder)
                trained += ended.run.epochs  # of these nothing is left to do
                yield ended
            for slot in set(range(len(machine.slots))) - jobs.keys():
                if (run := _next_ready(waiting)) is not None:
                    waiting.remove(run)
                    jobs[slot] = _Job(run, machine, machine.slots[slot], lock)
            going_on = sum(stage.epochs_logged for job in jobs.values() for stage in job.run.stages)
            yield Progress(trained + going_on)
            time.sleep(_POLL_SECONDS)
            for slot, job in list(jobs.items()):
                if (ended := job.poll()) is not None:
                    del jobs[slot]
                    trained += job.run.epochs
                    failed |= set() if ended.result else {job.run.folder}
                    yield ended
    finally:
        _stop([job.process for job in jobs.values() if job.process is not None])


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


def _next_ready(waiting: Sequence[Run]) -> Run | None:
    return next((run for run in waiting if all(result_file(needed).is_file() for needed in run.needs)), None)


class _Job:
    """A run that is going on: its commands one after another, their output appended to ``run.log``."""

    def __init__(self, run: Run, machine: Machine, slot: dict[str, str], lock: int) -> None:
        self.run, self.device, self.lock = run, machine.device, lock
        self.environment = os.environ | slot
        self.log = run.folder / "run.log"
        check_output_folder(run.folder)
        write_json({"commands": run.history}, history_file(run))
        self.done: list[str] = [typed(run.training)]
        self.steps = self._commands()
        self.process: subprocess.Popen | None = self._start_next()

    def poll(self) -> RunEnded | None:
        """Go on with the next command when one has ended; the end of the run, or None while it goes on."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            if code:
                return RunEnded(self.run, None, f"failed: {_last_error(self.log, code)}; see {self.log}")
            self.process = self._start_next()
        if self.process is not None:
            return None
        result = run_result(self.run, self.done, self.device)
        write_json(result, result_file(self.run))
        return RunEnded(self.run, result)

    def _commands(self) -> Iterator[Command]:
        """What is still to do, found out as it comes to it."""
        stages = self.run.stages
        if not stages[-1].is_done:
            resumed = any(stage.is_started for stage in stages)
            yield (*self.run.training, *(("--resume", "True") if resumed else ()))
        for checkpoint, command in self.run.evaluations.items():
            # a training whose every validation score is undefined has chosen none
            if checkpoint != CHOSEN or (self.run.folder / WEIGHTS[CHOSEN]).is_file():
                self.done.append(typed(command))
                yield command

    def _start_next(self) -> subprocess.Popen | None:
        command = next(self.steps, None)
        if command is None:
            return None
        with self.log.open("a") as log:
            log.write(f"$ python {shlex.join(command)}\n")
            log.flush()
            # in the process group of this program: what kills the group leaves none behind
            return subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                pass_fds=(self.lock,),
            )


def _last_error(log: Path, code: int) -> str:
    """The line of a log that tells why its last command failed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    lines = lines[max(number for number, line in enumerate(lines) if line.startswith("$ ")) + 1 :]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or [f"exit status {code}"])[-1].removeprefix("error: ")


def _difference(earlier: Sequence[str], now: Sequence[str]) -> str:
    """The first option that two lists of commands differ in."""
    for old, new in zip(earlier, now, strict=False):
        if old != new:
            before, after = (_options(command) for command in (old, new))
            keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
            if keys:
                return f"{keys[0]} {before.get(keys[0], 'not given')} there, {after.get(keys[0], 'not given')} now"
    return f"{len(earlier)} commands there, {len(now)} now"


def _options(command: str) -> dict[str, str]:
    words = shlex.split(command)
    return {word: value for word, value in zip(words, words[1:], strict=False) if word.startswith("--")}
