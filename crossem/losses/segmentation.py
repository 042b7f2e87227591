"""Weighted voxel loss for segmentation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class WeightedCrossEntropyDice(nn.Module):
    """Per-voxel weighted cross entropy plus weighted soft Dice, computed in float32.

    With per-voxel weights w, class probabilities p and one-hot truth y:

        cross entropy = sum(w * -log p_true) / sum(w)
        Dice loss = 1 - mean over foreground classes of (2 sum(w p y) + s) / (sum(w p) + sum(w y) + s)

    both over batch and voxels, so a constant weight changes nothing and a weight of 0 removes a voxel. The
    weighted cross entropy is that of Roy and Chakraborty, section 4; Dice as in Milletari et al. 2016.

    Args:
        cross_entropy: factor of the cross entropy.
        dice: factor of the Dice loss.
        smooth: s above, in voxels.
    """

    def __init__(self, cross_entropy: float = 1.0, dice: float = 1.0, smooth: float = 1.0) -> None:
        super().__init__()
        self.cross_entropy, self.dice, self.smooth = cross_entropy, dice, smooth

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, C, Z, Y, X).
            label: (B, 1, Z, Y, X) class indices.
            weight: (B, 1, Z, Y, X), not negative; None means 1 everywhere.
        """
        logits, target = logits.float(), label[:, 0].long()
        weight = torch.ones_like(target, dtype=torch.float32) if weight is None else weight[:, 0].float()
        # a constant factor must change nothing, the smoothing term included
        weight = weight * (weight.numel() / weight.sum().clamp_min(1e-8))
        log_probability = functional.log_softmax(logits, dim=1)
        voxel_loss = functional.nll_loss(log_probability, target, reduction="none")
        loss = self.cross_entropy * (weight * voxel_loss).mean()
        return loss + self.dice * self._dice_loss(log_probability.exp(), target, weight)

    def _dice_loss(self, probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        scores = []
        for c in range(1, probability.shape[1]):
            truth = (target == c) * weight
            overlap = (probability[:, c] * truth).sum()
            total = (probability[:, c] * weight).sum() + truth.sum()
            scores.append((2 * overlap + self.smooth) / (total + self.smooth))
        return 1 - torch.stack(scores).mean()
