"""From a spec to the runs that it asks for, each with the commands that a user would type."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from crossem.bundle import check_options
from crossem.comparison.spec import MethodSpec, Spec, in_full, method_order, with_folders
from crossem.data._validation import close_match
from crossem.errors import InputError
from crossem.methods.checkpoint import CHECKPOINT
from crossem.methods.log import CSV_NAME
from crossem.networks import load_torch_file

BUNDLES = Path("bundles")
LAST, CHOSEN = "last", "chosen"
PREDICTION = "prediction"
WEIGHTS = {LAST: "model.pt", CHOSEN: "model_best.pt"}
Command = tuple[str, ...]
Key = tuple[str, float | None, int]  # of a run and its result: method, label fraction, seed


@dataclass(frozen=True)
class Stage:
    """One training loop of a run: its folder, with log.csv and checkpoint.pt, and how many epochs it has."""

    folder: Path
    epochs: int

    @property
    def epochs_logged(self) -> int:
        return min(len(self.log()), self.epochs)

    @property
    def is_started(self) -> bool:
        return (self.folder / CHECKPOINT).is_file()

    @property
    def is_done(self) -> bool:
        # of the checkpoint, not of the log: a training is killed between the two
        return self.is_started and load_torch_file(self.folder / CHECKPOINT)["epoch"] >= self.epochs

    def log(self) -> list[dict[str, str]]:
        """The rows of log.csv, one an epoch; none before the first epoch's end."""
        path = self.folder / CSV_NAME
        if not path.is_file():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))


@dataclass(frozen=True)
class Run:
    """One training, or the weights of one, and its evaluations: a method, a seed, and the share of target labels used.

    Attributes:
        folder: of everything that the run writes; ``output_dir`` of the training.
        needs: the runs that have to be finished before.
        training: its command, the arguments after ``python``; None where the weights are those of the first that it
            needs.
        evaluations: the commands that score ``last`` and, where there is one, the ``chosen`` checkpoint.
        stages: the training's loops; the last one trains the segmentation network.
    """

    method: str
    seed: int
    label_fraction: float | None
    folder: Path
    needs: tuple[Run, ...]
    training: Command | None
    evaluations: Mapping[str, Command]
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key(self) -> Key:
        """What tells the runs of one comparison apart."""
        return self.method, self.label_fraction, self.seed

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def epochs_logged(self) -> int:
        return sum(stage.epochs_logged for stage in self.stages)

    @property
    def lineage(self) -> tuple[Run, ...]:
        """All that it needs, directly or not, each once, and itself at the end."""
        before = {run.folder: run for needed in self.needs for run in needed.lineage}
        return (*before.values(), self)

    @property
    def history(self) -> list[str]:
        """Every training that the scores depend on, as typed: those of the runs that it needs come first."""
        return [typed(run.training) for run in self.lineage if run.training]

    @property
    def trained(self) -> Run:
        """The run that trains the weights: itself, or where it only scores them, another."""
        return self if self.training else self.needs[0]

    def commands(self, with_chosen: bool = True) -> list[Command]:
        """The training, where there is one, and the evaluations, with or without that of the chosen checkpoint."""
        evaluations = [command for which, command in self.evaluations.items() if with_chosen or which != CHOSEN]
        return [*([self.training] if self.training else []), *evaluations]

    def training_left(self) -> Command | None:
        """The training as it has to be started now; None where it is done, or there is none."""
        if not self.training or self.stages[-1].is_done:
            return None
        return (*self.training, *(("--resume", "True") if self.is_started else ()))

    @property
    def is_started(self) -> bool:
        return any(stage.is_started for stage in self.stages)

    def weights(self, checkpoint: str) -> Path:
        """The file of a checkpoint's weights."""
        return self.trained.folder / WEIGHTS[checkpoint]

    def scores_file(self, checkpoint: str) -> Path:
        """What the evaluation of a checkpoint writes."""
        return self.folder / f"evaluation_{checkpoint}" / "scores.json"


def typed(command: Sequence[str]) -> str:
    """A command as a user types it."""
    return f"python {shlex.join(command)}"


def difference(earlier: Sequence[str], now: Sequence[str]) -> str:
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


def plan_runs(spec: Spec, datalist: Path, work_dir: Path) -> list[Run]:
    """The runs of a spec, seed by seed, each after those that it needs.

    Raises:
        InputError: when a bundle or overlay is missing, a config does not know an option, a checkpoint would be chosen
            on target labels, or a method that trains on the target is called unsupervised.
    """
    runs: dict[tuple[str, int, float | None], Run] = {}
    for seed in spec.seeds:
        for name in method_order(spec):
            for fraction in spec.methods[name].label_fractions:
                runs[name, seed, fraction] = _planned(spec, name, seed, fraction, runs, (datalist, work_dir))
    return list(runs.values())


def selected_runs(
    runs: Sequence[Run],
    methods: Sequence[str] | None,
    seeds: Sequence[int] | None,
    label_fractions: Sequence[float] | None = None,
) -> list[Run]:
    """Those of some methods, seeds and label fractions (None: all), and the runs that these need.

    A method that has no label fractions is not left out by them; 0 is the run of a method that has some without one.

    Raises:
        InputError: when there is no such method, or none of the chosen ones has such a fraction.
    """
    known = list(dict.fromkeys(run.method for run in runs))
    for name in methods or ():
        if name not in known:
            raise InputError(f"method {name!r} is not in the spec{close_match(name, known)}; it has {', '.join(known)}")
    of_methods = [run for run in runs if not methods or run.method in methods]
    if label_fractions:
        _check_fractions(of_methods, label_fractions)
        with_fractions = {run.method for run in of_methods if run.label_fraction is not None}
        of_methods = [
            run
            for run in of_methods
            if (run.label_fraction or 0) in label_fractions or run.method not in with_fractions
        ]
    chosen = [run for run in of_methods if not seeds or run.seed in seeds]
    return with_needed(runs, chosen)


def with_needed(runs: Sequence[Run], wanted: Sequence[Run]) -> list[Run]:
    """Those that are wanted, and all that these need, in the order of ``runs``."""
    folders = {needed.folder for run in wanted for needed in run.lineage}
    return [run for run in runs if run.folder in folders]


def _check_fractions(runs: Sequence[Run], label_fractions: Sequence[float]) -> None:
    fractions = sorted({run.label_fraction for run in runs if run.label_fraction is not None})
    without = any(run.label_fraction is None for run in runs)
    for fraction in label_fractions:
        if fraction not in fractions and (fraction or not without):
            known = f"they have {', '.join(f'{f:g}' for f in fractions)}" if fractions else "they take none"
            raise InputError(f"no chosen method has the label fraction {fraction:g}; {known}")


def shown_runs(spec: Spec, runs: Sequence[Run]) -> dict[str, Run]:
    """The one run of each method whose prediction is kept, by the title that it has in a picture."""
    shown: dict[str, Run] = {}
    for run in runs:
        if _is_shown(spec, run.method, run.seed, run.label_fraction):
            labels = "" if run.label_fraction is None else f", {100 * run.label_fraction:g} %"
            shown[spec.methods[run.method].title + labels] = run
    return shown


def _is_shown(spec: Spec, method: str, seed: int, fraction: float | None) -> bool:
    """Whether it is the first seed, and the run without target labels, or where there is none that with most."""
    fractions = spec.methods[method].label_fractions
    return seed == spec.seeds[0] and fraction == (None if None in fractions else max(fractions))


def _planned(
    spec: Spec,
    name: str,
    seed: int,
    fraction: float | None,
    runs: Mapping[tuple[str, int, float | None], Run],
    data: tuple[Path, Path],
) -> Run:
    method, (datalist, work_dir) = in_full(spec, name), data
    needs = {needed: runs[needed, seed, fraction if needed == method.weights else None] for needed in method.needs}
    folder = work_dir / f"{name}{'' if fraction is None else f'_{fraction:g}'}_seed{seed}"
    folders = {needed: run.folder for needed, run in needs.items()}
    options = {key: with_folders(value, folders) for key, value in (spec.options | method.options).items()}
    options |= {"datalist": datalist, "seed": seed} | ({} if fraction is None else {"label_fraction": fraction})
    files = _config_files(name, method)
    of_weights = folders[method.weights] if method.weights else folder
    checkpoints = {which: of_weights / WEIGHTS[which] for which in ((LAST, CHOSEN) if method.chosen else (LAST,))}
    evaluations = _evaluations(files, options, folder, checkpoints, spec.split)
    if _is_shown(spec, name, seed, fraction):
        evaluations[LAST] += ("--validate#postprocessing#output_dir", str(folder / PREDICTION))
    training, stages = None, ()
    if method.weights:
        _check_scoring(name, spec.methods[name], files)
    else:
        config = _read_config(files, options)
        _check_domain(name, method, config.get("domain"))
        training, stages = _command("training", files, options | {"output_dir": folder}), _stages(config, folder)
    run = Run(name, seed, fraction, folder, tuple(needs.values()), training, evaluations, stages)
    for command in run.commands():
        _check(name, command)
    return run


def _check_scoring(name: str, method: MethodSpec, files: Sequence[str]) -> None:
    """See that no option of a method that trains nothing is of a training; ``files`` are the training's."""
    scoring = [_config(method.bundle, file) for file in ("inference.json", "evaluate.json")]
    trains = {key for file in files for key in json.loads(Path(file).read_text())}
    scores = {key for file in scoring for key in json.loads(Path(file).read_text())}
    for option in method.options:
        if option in trains - scores:  # one that is in neither is misspelt, which is said elsewhere
            raise InputError(
                f"method {name}: {option} is an option of a training, and with weights nothing is trained; leave it out"
            )


def _check_domain(name: str, method: MethodSpec, domain: Any) -> None:
    """See that a method uses and is chosen on labels of the domain that it says."""
    if method.unsupervised and domain == "target":
        raise InputError(
            f"method {name}: domain is 'target', so it uses target labels; give it unsupervised: false, or the option "
            "domain: source"
        )
    if method.chosen and domain != "source":
        raise InputError(
            f"method {name}: domain is {domain!r}, so a checkpoint may be chosen on target labels; "
            "give it the option domain: source, or chosen: false"
        )


def _evaluations(
    files: Sequence[str], options: Mapping[str, Any], folder: Path, checkpoints: Mapping[str, Path], split: str
) -> dict[str, Command]:
    """The commands that score checkpoints, given by what they are called and their files, on the target.

    They have the overlays and options of the training too, as the network is planned from some of them.
    """
    files = [*files, str(Path(files[0]).with_name("evaluate.json"))]
    commands = {}
    for checkpoint, weights in checkpoints.items():
        scoring = {"domain": "target", "split": split, "checkpoint": weights}
        scoring |= {"output_dir": folder / f"evaluation_{checkpoint}"}
        commands[checkpoint] = _command("evaluating", files, {**options, **scoring})
    return commands


def _config(bundle: str, file: str) -> str:
    return str(BUNDLES / bundle / "configs" / file)


def _config_files(name: str, method: MethodSpec) -> list[str]:
    """train.json and the overlays of a method; InputError where one is missing."""
    bundles = sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/train.json"))
    if method.bundle not in bundles:
        hint = close_match(method.bundle, bundles) or f"; known: {', '.join(bundles) or 'none'}"
        raise InputError(
            f"method {name}: there is no bundle {method.bundle!r} in {BUNDLES.absolute()}{hint} (run this from the "
            "repository's root)"
        )
    for overlay in method.overlays:
        path = Path(_config(method.bundle, overlay))
        if not path.is_file():
            hint = close_match(overlay, sorted(file.name for file in path.parent.glob("*.json")))
            raise InputError(f"method {name}: overlay {path} does not exist{hint}")
    return [_config(method.bundle, file) for file in ("train.json", *method.overlays)]


def _command(run_id: str, files: Sequence[str], options: Mapping[str, Any]) -> Command:
    pairs = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    # one file as it is, several in a list that a shell quotes well
    config_file = files[0] if len(files) == 1 else json.dumps(list(files))
    return ("-m", "monai.bundle", "run", run_id, "--config_file", config_file, *pairs)


def _check(name: str, command: Command) -> None:
    try:
        check_options(command[1:])
    except InputError as error:
        raise InputError(f"method {name}: {error}") from error


def _read_config(files: Sequence[str], options: Mapping[str, Any]) -> ConfigParser:
    config = ConfigParser()
    config.read_config(list(files))
    for key, value in options.items():
        if key in config.config:  # others reach inside, and say nothing about domain and epochs
            config[key] = value
    return config


def _stages(config: ConfigParser, folder: Path) -> tuple[Stage, ...]:
    """The training loops of a run; a bundle that translates first has one more, in ``translate``."""
    last = Stage(folder, int(config.get_parsed_content("epochs")))
    if "translate_epochs" not in config.config or config.get("translator") is not None:
        return (last,)
    return (Stage(folder / "translate", int(config.get_parsed_content("translate_epochs"))), last)
