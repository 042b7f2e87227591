"""Loss and accuracy of a domain discriminator."""

from __future__ import annotations

import torch
from torch import Tensor

from crossem.losses.adversarial import adversarial_loss


def domain_loss(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Binary cross entropy with the label 0 for the source and 1 for the target, in float32.

    The mean over each domain first, so that both count the same whatever their sizes are (Ganin et al. 2016,
    equation 9). log 2 for a discriminator that tells nothing.

    Args:
        source_logits: discriminator output on the source, any shape.
        target_logits: and on the target.
    """
    return 0.5 * (adversarial_loss(source_logits, real=False) + adversarial_loss(target_logits, real=True))


@torch.no_grad()
def domain_accuracy(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Share of the positions whose domain is told right, the mean of the domains; 0.5 is chance."""
    return 0.5 * ((source_logits <= 0).float().mean() + (target_logits > 0).float().mean())
