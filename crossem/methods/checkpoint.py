"""Full-state checkpoints and exact resume."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from crossem.errors import InputError
from crossem.io import atomic_output, check_output_folder
from crossem.networks import load_torch_file

logger = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"


def save_atomically(content: Any, path: Path) -> None:
    """``torch.save`` that never leaves a part of a file under the final name."""
    with atomic_output(path, path.suffix) as temporary:
        torch.save(content, temporary)


class Checkpoint:
    """Saves the whole state of a training and goes on from it.

    A resumed run ends with the weights of an uninterrupted one: the networks, the optimisers, the averages and
    the epoch are restored, and the patches of an epoch depend on its number alone.

    Args:
        output_dir: where ``checkpoint.pt`` is written.
        parts: what has a ``state_dict``, by name (networks, optimisers, averages).
        resume: go on from ``output_dir/checkpoint.pt``.

    Raises:
        InputError: when there is nothing to resume from, or it belongs to another method or architecture.
    """

    def __init__(self, output_dir: str | Path, parts: Mapping[str, Any], resume: bool = False) -> None:
        self.path, self.parts, self.resume = Path(output_dir) / CHECKPOINT, parts, resume
        if resume:
            if not self.path.is_file():
                raise InputError(f"resume: {self.path} does not exist; give the output_dir of the run to go on with")
            self.saved = load_torch_file(self.path)
            if not isinstance(self.saved, dict) or not {"epoch", "parts"} <= self.saved.keys():
                raise InputError(f"resume: {self.path} is no checkpoint of a training; train again without resume")

    def save(self, engine: Engine) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if engine.scaler is not None:
            state["scaler"] = engine.scaler.state_dict()
        save_atomically({"epoch": engine.state.epoch, "parts": state}, self.path)

    def load(self, engine: Engine) -> None:
        saved, parts = self.saved, dict(self.parts)
        if engine.scaler is not None:
            parts["scaler"] = engine.scaler
        if saved["parts"].keys() != parts.keys():
            raise InputError(
                f"resume: {self.path} holds {sorted(saved['parts'])}, this method {sorted(parts)}: "
                "resume with the configs that the run was started with"
            )
        if saved["epoch"] >= engine.state.max_epochs:
            raise InputError(
                f"epochs is {engine.state.max_epochs}, and {self.path} is after epoch {saved['epoch']} already: "
                "give more epochs to go on"
            )
        for name, part in parts.items():
            _check_learning_rates(name, part, saved["parts"][name], self.path)
            try:
                part.load_state_dict(saved["parts"][name])
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[-1].strip()
                raise InputError(f"resume: {name} in {self.path} does not fit this config: {reason}") from error
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["epoch"] * engine.state.epoch_length
        logger.info("resumed from %s after epoch %d", self.path, saved["epoch"])


def _check_learning_rates(name: str, part: Any, saved: Mapping[str, Any], path: Path) -> None:
    """An optimiser comes back with the learning rates it had: others asked for would be ignored."""
    if isinstance(part, torch.optim.Optimizer):
        # another number of groups is load_state_dict's to refuse
        for number, (own, old) in enumerate(zip(part.param_groups, saved["param_groups"], strict=False)):
            if own["lr"] != old["lr"]:
                raise InputError(
                    f"resume: the learning rate of {name}, parameter group {number}, is {own['lr']}, and {path} was "
                    f"trained with {old['lr']}: give the same, or start a new run with the weights as pretrained"
                )


def prepare_output_dir(output_dir: str | Path, resume: bool) -> Path:
    """Create ``output_dir``; what an earlier run left there moves to ``output_dir.1``, ``.2`` ... first."""
    output_dir = Path(output_dir)
    if not resume and (output_dir / CHECKPOINT).exists():
        number = 1
        while (kept := output_dir.with_name(f"{output_dir.name}.{number}")).exists():
            number += 1
        os.replace(output_dir, kept)
        logger.info("the earlier run in %s is kept as %s", output_dir, kept)
    return check_output_folder(output_dir)
