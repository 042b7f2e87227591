"""The part of a training step that all methods share."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from crossem.methods.average import WeightAverage
from crossem.networks import native_dtype

logger = logging.getLogger(__name__)
Batch = Mapping[str, Mapping[str, Tensor]]


class TrainingDivergedError(RuntimeError):
    """Too many steps in a row had no finite gradient."""


@dataclass
class StepOutput:
    """What a method computes of one batch.

    Attributes:
        terms: named losses, each already multiplied by its weight; their sum is minimised.
        logits: of the source patches, (B, C, Z, Y, X).
        monitors: logged beside the terms under their own names, and not minimised.
        images: (B, 1, Z, Y, X) intensities; the middle slice of the first is kept once an epoch.
    """

    terms: dict[str, Tensor]
    logits: Tensor
    monitors: dict[str, Tensor | float] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)


class Iteration(ABC):
    """``iteration_update`` of MONAI's SupervisedTrainer: one optimiser step on a batch of the domains.

    A method implements ``losses``. Shared here: moving the batch, mixed precision (on CUDA only: backward in
    bfloat16 on a CPU gave non-finite gradients), the mean of the gradients over the processes of a distributed
    run, clipping, and the finite check: a step whose gradient norm is not finite is skipped and counted.

    The gradients are averaged here, and not by DistributedDataParallel, because methods reach into the network
    (features, several forward passes a step) and train modules beside it, where only ``forward`` of a wrapped
    network would be synchronised.

    Args:
        average: running average of the weights, updated after each step.
        clip_norm: largest gradient norm of a parameter group, so that a discriminator in a group of its own does
            not shorten the network's step.
        max_skipped: so many skipped steps in a row stop the training.

    Raises:
        TrainingDivergedError: after ``max_skipped`` steps in a row without a finite gradient.
    """

    def __init__(self, average: WeightAverage, clip_norm: float = 5.0, max_skipped: int = 20) -> None:
        self.average, self.clip_norm, self.max_skipped = average, clip_norm, max_skipped
        self.skipped_in_a_row = 0

    @abstractmethod
    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        """The terms to minimise; ``engine.state.iteration`` counts the steps from 1, through a resume too."""

    def __call__(self, engine: SupervisedTrainer, batch: Batch) -> dict:
        device = engine.state.device
        batch = {
            domain: {key: value.to(device, non_blocking=True) for key, value in items.items()}
            for domain, items in batch.items()
        }
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=native_dtype(device), enabled=engine.amp and device.type == "cuda"):
            output = self.losses(engine, batch)
        total = torch.stack(list(output.terms.values())).sum()
        self._step(engine, total)
        named = {"loss": total, **output.terms, **output.monitors}
        numbers = dict(zip(named, _numbers(list(named.values()), total.device), strict=True))
        engine.state.output = {
            "loss": numbers.pop("loss"),
            "terms": numbers,
            "skipped": self.skipped_in_a_row > 0,
            "pred": output.logits.detach(),
            "images": {name: image.detach() for name, image in output.images.items()},
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _step(self, engine: SupervisedTrainer, total: Tensor) -> None:
        # float16 needs its gradients scaled, bfloat16 and float32 do not
        scaler = engine.scaler if native_dtype(engine.state.device) is torch.float16 else None
        (scaler.scale(total) if scaler else total).backward()
        if scaler:
            scaler.unscale_(engine.optimizer)
        groups = [group["params"] for group in engine.optimizer.param_groups]
        average_gradients([p for parameters in groups for p in parameters])
        norms = [torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm) for parameters in groups]
        if math.isfinite(sum(norms).item()):
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


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace the gradients by their mean over the processes; nothing to do in a run of one process.

    One collective for all of them. A parameter without a gradient must have none in any process.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not dist.is_initialized() or dist.get_world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def _numbers(values: Sequence[Tensor | float], device: torch.device) -> list[float]:
    """Plain numbers, with one wait for the device."""
    return torch.stack([torch.as_tensor(v, dtype=torch.float32, device=device).detach() for v in values]).tolist()
