"""Supervised training and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping

from monai.engines import SupervisedTrainer
from torch import Tensor

from crossem.methods.iteration import Batch, Iteration, StepOutput


class SupervisedIteration(Iteration):
    """Segmentation loss on labelled patches: the baseline, and fine-tuning when the patches are the target's.

    Fine-tuning: Roels et al. 2019, section 5 (baseline FT); freezing: see ``freeze_encoder_levels``.
    """

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        source = batch["source"]
        logits = engine.inferer(source["image"], engine.network)
        return StepOutput({"segmentation": segmentation_loss(engine, logits, source)}, logits)


def segmentation_loss(engine: SupervisedTrainer, logits: Tensor, patches: Mapping[str, Tensor]) -> Tensor:
    """The trainer's loss on labelled patches, weighted where they carry a weight."""
    return engine.loss_function(logits, patches["label"], patches.get("weight"))


def target_segmentation(engine: SupervisedTrainer, logits: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The term "target_segmentation" of the semi-supervised case (Roels et al. 2019, section 3), or no term.

    Args:
        engine: the trainer.
        logits: of the target patches.
        target: the target's part of the batch; it has a "label" when target labels may be used.
    """
    return {"target_segmentation": segmentation_loss(engine, logits, target)} if "label" in target else {}
