"""What a bundle's configs call around the work: one-line errors, the check of overrides, and paths.

This is the one module that knows the command line, because `python -m monai.bundle run` leaves no other place
to refuse a misspelt option.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import monai.bundle
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from crossem.errors import InputError
from crossem.methods.iteration import TrainingDivergedError

READABLE_ERRORS = (InputError, TrainingDivergedError)


def start(seed: int | None = None) -> None:
    """First line of every `initialize`: readable errors, no silently ignored options, the seed.

    Only the seed is set where the configs are used by another program than `python -m monai.bundle run`.

    Raises:
        InputError: when the command line has an option that no config knows.
    """
    if is_command_line(sys.argv):
        sys.excepthook = _one_line_excepthook
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_no_echo)
        check_options(sys.argv)
    if seed is not None:
        set_determinism(seed=seed)


def is_command_line(argv: Sequence[str]) -> bool:
    """Whether this process is `python -m monai.bundle run ...`."""
    return len(argv) > 1 and argv[1] == "run" and Path(argv[0]).parts[-3:-1] == ("monai", "bundle")


def check_options(argv: Sequence[str]) -> None:
    """Refuse `--epocs 3` and `--train#trainer#max_epoch 3`, which MONAI would ignore.

    Args:
        argv: the command line of a `monai.bundle run`; nothing is checked where it names no config by an option.
    """
    argv = [_with_underscores(argument) for argument in argv]
    run_arguments = set(inspect.signature(monai.bundle.run).parameters) - {"override"}
    files = _config_files(argv)
    if not files:
        return
    config = ConfigParser.load_config_files(files)
    for argument in argv[2:]:
        if argument.startswith("--"):
            option = argument[2:].split("=")[0]
            if option not in run_arguments:
                _check_option(option, config, run_arguments)


def _with_underscores(argument: str) -> str:
    """`--label-fraction=0.5` as `--label_fraction=0.5`: the command line takes both."""
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def _check_option(option: str, config: dict, run_arguments: set[str]) -> None:
    """Follow `a#b#c` into the config; below a `_target_` any argument may be added."""
    level: Any = config
    for part in option.lstrip("+~").replace("::", "#").split("#"):
        if isinstance(level, list) and part.isdigit() and int(part) < len(level):
            level = level[int(part)]
        elif isinstance(level, dict) and part in level:
            level = level[part]
        elif isinstance(level, dict) and "_target_" in level:
            return
        else:
            known = [*level, *(run_arguments if level is config else ())] if isinstance(level, dict) else []
            close = difflib.get_close_matches(part, known, n=3)
            remedy = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known) or 'no parts'}"
            raise InputError(f"--{option} is not an option of this config: no {part!r} there, {remedy}")


def _config_files(argv: Sequence[str]) -> list[str]:
    """The config files of a command line, also when they come from an `--args_file`."""
    given = {a.split("=")[0]: a.split("=", 1)[1] if "=" in a else b for a, b in zip(argv, [*argv[1:], ""], strict=True)}
    if "--config_file" in given:
        value = given["--config_file"]
        return list(ast.literal_eval(value)) if value.startswith(("[", "(")) else [value]
    if "--args_file" not in given:
        return []
    files = ConfigParser.load_config_file(given["--args_file"]).get("config_file", [])
    return [files] if isinstance(files, str) else list(files)


def _readable(error: BaseException | None) -> BaseException | None:
    """The error meant for users in a chain of causes (MONAI wraps what a config raises)."""
    while error is not None and not isinstance(error, READABLE_ERRORS):
        error = error.__cause__ or error.__context__
    return error


def _one_line_excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    readable = _readable(error)
    if readable is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        sys.stderr.write(f"error: {readable}\n")


def _is_no_echo(record: logging.LogRecord) -> bool:
    """False for what ignite logs of an error that is told in one line at the end anyway."""
    return "terminating due to exception" not in record.getMessage()


def find_root(name: str) -> str:
    """The bundle's folder, whether the working directory is the repository's root or the bundle's own."""
    inside = Path("bundles") / name
    return str(inside) if (inside / "configs" / "metadata.json").is_file() else "."


def default_device() -> torch.device:
    """CUDA when there is one (the process's own in a distributed run), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.distributed.get_node_local_rank(0))
