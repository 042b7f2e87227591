"""Self-training: a mean teacher labels the target."""

from __future__ import annotations

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from crossem.checks import checked_number, checked_range
from crossem.methods.average import WeightAverage
from crossem.methods.iteration import Batch, Iteration, StepOutput
from crossem.methods.supervised import segmentation_loss
from crossem.networks import forward_autocast


class ForegroundThreshold(nn.Module):
    """The foreground probability above which a given share of the target lies, over the batches seen.

    A network from another domain is sure of too little or of too much of the target, and pseudo-labels at 0.5 would
    teach it so. With the threshold set by a share, the share stays (class-balanced self-training: Zou et al. 2018,
    arXiv:1810.07911, who take the shares of the network's own predictions).

    Args:
        share: of the voxels that are foreground.
        memory: weight of the past at each batch, 0 ... 1.
        bounds: the threshold stays between them, so that a wrong share does not make labels of noise.

    Raises:
        InputError: when the share or the memory is no number from 0 to 1, or the bounds are no range.
    """

    bins = 200

    def __init__(self, share: float, memory: float = 0.98, bounds: tuple[float, float] = (0.15, 0.85)) -> None:
        super().__init__()
        self.share = checked_number("foreground_share", share, maximum=1.0)
        self.memory = checked_number("memory", memory, maximum=1.0)
        self.bounds = checked_range("bounds", bounds, minimum=0.0)
        self.register_buffer("histogram", torch.zeros(self.bins))

    @torch.no_grad()
    def forward(self, foreground: Tensor) -> float:
        """Count the probabilities of a batch (any shape, also empty), and return the threshold."""
        counts = torch.histc(foreground.float(), self.bins, 0.0, 1.0).to(self.histogram.device)
        self.histogram.mul_(self.memory).add_(counts)
        above = self.histogram.flip(0).cumsum(0) / self.histogram.sum().clamp_min(1.0)  # 0 before the first voxel
        threshold = 1.0 - float((above < self.share).sum()) / self.bins
        low, high = self.bounds
        return min(max(threshold, low), high)


def pseudo_labels(probability: Tensor, threshold: float, confidence: float) -> tuple[Tensor, Tensor]:
    """Labels of the teacher's probabilities, and which of them count.

    Args:
        probability: (B, C, Z, Y, X), background first.
        threshold: foreground probability from which a voxel is foreground, of its most probable class.
        confidence: a label counts when the foreground probability has gone this share, 0 ... 1, of the way from the
            threshold to 0 or to 1.

    Returns:
        label (B, 1, Z, Y, X) int64, and weight (B, 1, Z, Y, X), 1 or 0.
    """
    foreground = 1.0 - probability[:, :1]
    label = torch.where(foreground > threshold, 1 + probability[:, 1:].argmax(1, keepdim=True), 0)
    above = (foreground - threshold) / (1.0 - threshold)
    below = (threshold - foreground) / threshold
    return label, (torch.maximum(above, below) >= confidence).float()


class SelfTrainingIteration(Iteration):
    """Segmentation of the source, and of the target with the labels that the averaged network gives it.

    The teacher, which is the running average of the weights, sees the target patch as it is ("plain"), the student
    the same patch augmented (Tarvainen and Valpola 2017; for segmentation under domain shift: Perone et al. 2019).
    In a share of the target patches objects of the source patch are pasted with their labels (Olsson et al. 2021,
    ClassMix; Tranheden et al. 2021, DACS), so that the target's surroundings are seen with labels that are right.
    Where the target has labels, they take the place of the teacher's, and are not counted for the threshold.

    Terms: "segmentation", "self_training". Monitored: the pseudo-labels' "pseudo_foreground" and "pseudo_confident"
    shares, and the "pseudo_threshold".

    Args:
        average: running average of the weights, the teacher.
        threshold: makes labels of probabilities; its state belongs to the checkpoint.
        weight: of the target's term, after the ramp; it is multiplied by the share of labels that count.
        confidence: see ``pseudo_labels``.
        mixing: share of the target patches with pasted objects.
        ramp_steps: the weight rises linearly over so many steps.

    Raises:
        InputError: when a weight or share is no number, or out of range.
    """

    def __init__(
        self,
        average: WeightAverage,
        threshold: ForegroundThreshold,
        weight: float = 1.0,
        confidence: float = 0.2,
        mixing: float = 0.5,
        ramp_steps: int = 100,
    ) -> None:
        super().__init__(average)
        self.threshold = threshold
        self.weight = checked_number("self_training_weight", weight)
        self.confidence = checked_number("confidence", confidence, maximum=1.0)
        self.mixing = checked_number("mixing", mixing, maximum=1.0)
        self.ramp_steps = checked_number("ramp_steps", ramp_steps, minimum=1)

    def losses(self, engine: SupervisedTrainer, batch: Batch) -> StepOutput:
        source, target = batch["source"], batch["target"]
        label, counts, threshold = self._labels(target)
        monitors = {
            "pseudo_foreground": (label > 0).float().mean(),
            "pseudo_confident": counts.mean(),
            "pseudo_threshold": threshold,
        }
        image, label, counts = self._mixed(target["image"], label, counts, source, engine.state.iteration)
        logits = engine.inferer(source["image"], engine.network)
        target_logits = engine.inferer(image, engine.network)
        ramp = min(1.0, engine.state.iteration / self.ramp_steps)
        terms = {
            "segmentation": segmentation_loss(engine, logits, source),
            "self_training": self.weight
            * ramp
            * counts.mean()
            * segmentation_loss(engine, target_logits, {"label": label, "weight": counts}),
        }
        return StepOutput(terms, logits, monitors)

    @torch.no_grad()
    def _labels(self, target: dict[str, Tensor]) -> tuple[Tensor, Tensor, float]:
        """Label and weight of the target patches, the teacher's or, where there are any, the true ones."""
        image = target["plain"]
        with forward_autocast(image.device):
            logits = self.average.network(image)
        probability = logits.float().softmax(1)
        if "label" not in target:
            threshold = self.threshold(1.0 - probability[:, :1])
            return *pseudo_labels(probability, threshold, self.confidence), threshold
        known = target["weight"] > 0 if "weight" in target else torch.ones_like(target["label"], dtype=torch.bool)
        # more patches are drawn where there are labels, so these would be counted too often
        threshold = self.threshold((1.0 - probability[:, :1])[~known])
        label, counts = pseudo_labels(probability, threshold, self.confidence)
        return torch.where(known, target["label"].long(), label), counts.masked_fill(known, 1.0), threshold

    def _mixed(
        self, image: Tensor, label: Tensor, counts: Tensor, source: dict[str, Tensor], step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Source objects pasted into a share of the target patches; the same ones at the same step."""
        chosen = torch.rand(len(image), 1, 1, 1, 1, generator=torch.Generator().manual_seed(step)) < self.mixing
        objects = (source["label"] > 0) & chosen.to(image.device)
        image = torch.where(objects, source["image"].to(image.dtype), image)
        return image, torch.where(objects, source["label"].long(), label), counts.masked_fill(objects, 1.0)
