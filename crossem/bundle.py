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

import monai.bundle
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from crossem.errors import InputError
from crossem.methods.iteration import TrainingDivergedError

READABLE_ERRORS = (InputError, TrainingDivergedError)


def start(seed: int | None = 0) -> None:
    """First line of every `initialize`: seed, readable errors, and no silently ignored options.

    Raises:
        InputError: when the command line has an option that no config knows.
    """
    sys.excepthook = _one_line_excepthook
    logging.getLogger("ignite").addFilter(_NoTraceback())
    check_options(sys.argv)
    if seed is not None:
        set_determinism(seed=seed)
        torch.use_deterministic_algorithms(False)


def check_options(argv: Sequence[str]) -> None:
    """Refuse `--epocs 3`, which MONAI would ignore.

    Args:
        argv: the command line; anything but a `monai.bundle run` passes.
    """
    if len(argv) < 2 or argv[1] != "run" or "monai" not in argv[0]:
        return
    options = [a[2:].split("=")[0] for a in argv[2:] if a.startswith("--")]
    known = set(inspect.signature(monai.bundle.run).parameters) - {"override"}
    for file in _config_files(argv):
        known |= set(ConfigParser.load_config_file(file))
    for option in options:
        name = option.split("#")[0].split("::")[0].lstrip("+~")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            remedy = (
                f"did you mean {' or '.join('--' + c for c in close)}?" if close else "see the bundle's docs/README.md"
            )
            raise InputError(f"--{option} is not an option of this config: {remedy}")


def _config_files(argv: Sequence[str]) -> list[str]:
    for i, argument in enumerate(argv):
        if argument.startswith("--config_file"):
            value = argument.split("=", 1)[1] if "=" in argument else argv[i + 1]
            return list(ast.literal_eval(value)) if value.startswith(("[", "(")) else [value]
    return []


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


class _NoTraceback(logging.Filter):
    """Keeps ignite from logging the traceback of an error that is one line for the user."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and _readable(record.exc_info[1]))


def find_root(name: str) -> str:
    """The bundle's folder, whether the working directory is the repository's root or the bundle's own."""
    inside = Path("bundles") / name
    return str(inside) if (inside / "configs" / "metadata.json").is_file() else "."


def default_device() -> torch.device:
    """CUDA when there is one (the process's own in a distributed run), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.distributed.get_node_local_rank(0))
