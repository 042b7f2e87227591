"""The handlers that every training has, as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from crossem.methods.average import WeightAverage
from crossem.methods.checkpoint import Checkpoint, prepare_output_dir, save_atomically
from crossem.methods.log import TrainingLog


class TrainingRecord:
    """Handler that checkpoints, resumes and logs a training, and writes its weights.

    In ``output_dir``: ``checkpoint.pt`` (full state), ``model.pt`` (plain state_dict of the averaged segmentation
    network after the last epoch), ``model_best.pt`` (the same at the best validation score), ``log.csv`` and
    ``tensorboard/``. In a distributed run only the first process writes.

    Args:
        output_dir: folder of this run.
        validator: the evaluator that runs after each epoch, and must come before this handler; None where nothing
            is validated.
        average: whose network is saved.
        parts: see ``Checkpoint``; the average and the best score are added.
        resume: go on from the checkpoint in ``output_dir``.
    """

    def __init__(
        self,
        output_dir: str | Path,
        validator: SupervisedEvaluator | None,
        average: WeightAverage,
        parts: Mapping[str, Any],
        resume: bool = False,
    ) -> None:
        self.validator, self.average = validator, average
        self.writes = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        self.output_dir = prepare_output_dir(output_dir, resume) if self.writes else Path(output_dir)
        best_score = {} if validator is None else {"best_score": _BestScore(validator)}
        self.checkpoint = Checkpoint(self.output_dir, {**parts, "average": average, **best_score}, resume)

    def attach(self, engine: Engine) -> None:
        if self.validator is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate_last)
        if self.checkpoint.resume:
            engine.add_event_handler(Events.STARTED, self.checkpoint.load)
        if self.writes:
            TrainingLog(self.output_dir, self.validator).attach(engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_model)
            # last of all: a run killed before repeats the epoch, and nothing is missing
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.checkpoint.save)

    def _validate_last(self, engine: Engine) -> None:
        """A training ends with a score, whatever the interval of validation is."""
        if engine.state.epoch == engine.state.max_epochs != self.validator.state.epoch:
            self.validator.run(engine.state.epoch)

    def _save_model(self, engine: Engine) -> None:
        weights = {k: v.cpu() for k, v in self.average.network.state_dict().items()}
        save_atomically(weights, self.output_dir / "model.pt")
        if self.validator is not None and self.validator.state.best_metric_epoch == engine.state.epoch:
            save_atomically(weights, self.output_dir / "model_best.pt")


class _BestScore:
    """The validator's best score so far, as a part of a checkpoint."""

    def __init__(self, validator: SupervisedEvaluator) -> None:
        self.state = validator.state

    def state_dict(self) -> dict[str, float]:
        return {"score": float(self.state.best_metric), "epoch": self.state.best_metric_epoch}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.state.best_metric, self.state.best_metric_epoch = state["score"], state["epoch"]
