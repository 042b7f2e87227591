"""Unsupervised adaptation in label space: a discriminator of label maps."""

from __future__ import annotations

import logging

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.nn import functional

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.losses import adversarial_loss
from crossem.methods.average import WeightAverage
from crossem.methods.iteration import Batch, Iteration, StepOutput
from crossem.methods.supervised import segmentation_loss, target_segmentation
from crossem.networks.gradient_reversal import gradient_reversal

logger = logging.getLogger(__name__)


class LabelSpaceIteration(Iteration):
    """The target's segmentations are made to look like the source's label maps (Roy and Chakraborty, section 4.3).

    A discriminator learns to call label maps of the source true (their loss L2) and segmentations of the target
    false (L3); the network is trained to raise L3, by gradient reversal. Their L1, the source's segmentation loss, is
    left out as there at ``source_weight`` 0: the source's images are then not looked at, and the network is held by
    nothing but its start, which has to be a trained one.

    The discriminator sees one-hot maps of both. Probabilities are never as crisp as labels, which is the first thing
    that a discriminator of them learns; so the target's maps are one-hot in the forward pass, and pass the gradient
    on as the probabilities (the straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).

    What the maps of the domains do not share, their share of boundary above all, is taken for an error of the
    network: where the target's true maps are unlike the source's, its segmentation becomes worse.

    Conditional (their section 6): the discriminator sees the image too, and the pairs of a source image and the label
    map of another place are false as well.

    Terms: "segmentation" (only with ``source_weight``), "target_segmentation" (only with target labels),
    "discriminator_source", "discriminator_target" and, when conditional, "discriminator_mismatched". The monitor
    "discriminator_accuracy" is the share of regions that it gets right, each term's counting the same: 1 is a
    discriminator that wins, 0.5 one that cannot tell. ``StepOutput.logits`` are the target's without source images.

    Args:
        average: see ``Iteration``.
        discriminator: maps (B, classes [+ 1 when conditional], Z, Y, X) to logits.
        reversal: factor of the reversed gradient; 0 leaves the network as it is.
        source_weight: factor of the source's segmentation loss.
        conditional: see above.
        warmup_steps: for so many steps the discriminator learns alone, as an untrained one has nothing to teach.

    Raises:
        InputError: when ``reversal``, ``source_weight`` or ``warmup_steps`` is not a number from 0 on, and without a
            discriminator, which is how a list of configs without ``adapt.json`` ends.
    """

    def __init__(
        self,
        average: WeightAverage,
        discriminator: nn.Module | None = None,
        reversal: float = 1.0,
        source_weight: float = 0.0,
        conditional: bool = False,
        warmup_steps: int = 50,
    ) -> None:
        super().__init__(average)
        if discriminator is None:
            raise InputError("conditional.json lacks the discriminator of adapt.json: put adapt.json before it")
        self.discriminator, self.conditional = discriminator, conditional
        self.reversal = checked_number("reversal", reversal)
        self.source_weight = checked_number("source_weight", source_weight)
        self.warmup_steps = checked_number("warmup_steps", warmup_steps)

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        source, target = batch["source"], batch["target"]
        steps = engine.state.max_epochs * engine.state.epoch_length
        if engine.state.iteration == 1 and steps <= self.warmup_steps:
            logger.warning("%d steps are no more than warmup_steps, %d: nothing is adapted", steps, self.warmup_steps)
        reversal = self.reversal if engine.state.iteration > self.warmup_steps else 0.0
        logits = target_logits = engine.inferer(target["image"], engine.network)
        terms = target_segmentation(engine, target_logits, target)
        if self.source_weight:
            logits = engine.inferer(source["image"], engine.network)
            terms["segmentation"] = self.source_weight * segmentation_loss(engine, logits, source)
        judged = self._judged(source, target, target_logits, reversal)
        terms |= {f"discriminator_{name}": adversarial_loss(*pair) for name, pair in judged.items()}
        right = [((verdict > 0) == true).float().mean() for verdict, true in judged.values()]
        return StepOutput(terms, logits, {"discriminator_accuracy": torch.stack(right).mean()})

    def _judged(
        self, source: dict[str, Tensor], target: dict[str, Tensor], target_logits: Tensor, reversal: float
    ) -> dict[str, tuple[Tensor, bool]]:
        """The discriminator's logits, and whether the maps are true, by the name of their term."""
        label = one_hot(source["label"], target_logits.shape[1])
        predicted = straight_through(target_logits)
        predicted = gradient_reversal(predicted, reversal) if reversal else predicted.detach()
        judged = {
            "source": (self._judge(label, source["image"]), True),
            "target": (self._judge(predicted, target["image"]), False),
        }
        if self.conditional:
            judged["mismatched"] = (self._judge(mismatched(label), source["image"]), False)
        return judged

    def _judge(self, maps: Tensor, image: Tensor) -> Tensor:
        return self.discriminator(torch.cat([maps, image.float()], dim=1) if self.conditional else maps)


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """(B, 1, Z, Y, X) class indices as (B, num_classes, Z, Y, X) float32."""
    return functional.one_hot(label[:, 0].long(), num_classes).movedim(-1, 1).float()


def straight_through(logits: Tensor) -> Tensor:
    """The most probable class as a one-hot map whose gradient is that of the probabilities; (B, C, Z, Y, X)."""
    probabilities = logits.float().softmax(dim=1)
    hard = one_hot(probabilities.argmax(dim=1, keepdim=True), logits.shape[1])
    return hard + probabilities - probabilities.detach()


def mismatched(maps: Tensor) -> Tensor:
    """Maps (B, C, Z, Y, X) that do not belong to their images: the next patch's, turned by 180 degrees in the plane.

    The turn makes them wrong in a batch of one too, and where two patches are of one place; patches are turned and
    flipped in training, so it does not give them away.
    """
    return maps.roll(1, dims=0).flip(-2, -1)
