"""Supervised training and fine-tuning."""

from __future__ import annotations

from monai.engines import SupervisedTrainer
from torch import Tensor

from crossem.methods.iteration import Batch, Iteration


class SupervisedIteration(Iteration):
    """Segmentation loss on labelled patches: the baseline, and fine-tuning when the patches are the target's.

    Fine-tuning: Roels et al. 2019, section 5 (baseline FT); freezing: see ``freeze_encoder_levels``.
    """

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        source = batch["source"]
        logits = engine.inferer(source["image"], engine.network)
        return {"segmentation": engine.loss_function(logits, source["label"], source.get("weight"))}, logits
