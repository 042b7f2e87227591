"""The part of a training step that all methods share."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from crossem.methods.average import WeightAverage
from crossem.networks import native_dtype

logger = logging.getLogger(__name__)
Batch = Mapping[str, Mapping[str, Tensor]]


class TrainingDivergedError(RuntimeError):
    """Too many steps in a row had no finite gradient."""


class Iteration(ABC):
    """``iteration_update`` of MONAI's SupervisedTrainer: one optimiser step on a batch of the domains.

    A method implements ``losses``. Shared here: moving the batch, mixed precision (on CUDA only: backward in
    bfloat16 on a CPU gave non-finite gradients), clipping, and the finite check: a step whose gradient norm is
    not finite is skipped and counted.

    Args:
        average: running average of the weights, updated after each step.
        clip_norm: largest gradient norm.
        max_skipped: so many skipped steps in a row stop the training.

    Raises:
        TrainingDivergedError: after ``max_skipped`` steps in a row without a finite gradient.
    """

    def __init__(self, average: WeightAverage, clip_norm: float = 5.0, max_skipped: int = 20) -> None:
        self.average, self.clip_norm, self.max_skipped = average, clip_norm, max_skipped
        self.skipped_in_a_row = 0

    @abstractmethod
    def losses(self, engine: SupervisedTrainer, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The named terms, whose sum is minimised, and the logits of the source patches."""

    def __call__(self, engine: SupervisedTrainer, batch: Batch) -> dict:
        device = engine.state.device
        batch = {
            domain: {key: value.to(device, non_blocking=True) for key, value in items.items()}
            for domain, items in batch.items()
        }
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=native_dtype(device), enabled=engine.amp and device.type == "cuda"):
            terms, logits = self.losses(engine, batch)
        total = torch.stack(list(terms.values())).sum()
        self._step(engine, total)
        engine.state.output = {
            "loss": total.item(),
            "terms": {name: term.item() for name, term in terms.items()},
            "skipped": self.skipped_in_a_row > 0,
            "pred": logits.detach(),
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _step(self, engine: SupervisedTrainer, total: Tensor) -> None:
        # float16 needs its gradients scaled, bfloat16 and float32 do not
        scaler = engine.scaler if native_dtype(engine.state.device) is torch.float16 else None
        (scaler.scale(total) if scaler else total).backward()
        if scaler:
            scaler.unscale_(engine.optimizer)
        parameters = [p for group in engine.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm).item()
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
            scaler.step(engine.optimizer) if scaler else engine.optimizer.step()
            self.average.update()
        else:
            self._count_skipped(engine)
        if scaler:
            scaler.update()

    def _count_skipped(self, engine: SupervisedTrainer) -> None:
        self.skipped_in_a_row += 1
        logger.warning("step %d: gradient not finite, step skipped", engine.state.iteration)
        if self.skipped_in_a_row >= self.max_skipped:
            raise TrainingDivergedError(
                f"{self.skipped_in_a_row} steps in a row had no finite gradient (step {engine.state.iteration}): "
                "lower learning_rate, and check the images for extreme values"
            )
