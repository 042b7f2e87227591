"""The loss between a generator and a discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdversarialLoss(nn.Module):
    """The logarithmic loss of Goodfellow et al. 2014 on a discriminator's logits, in float32.

    Aalto 2022, equation 3: the discriminator minimises ``-log D(real) - log(1 - D(fake))``. The generator
    minimises ``-log D(fake)`` in place of ``log(1 - D(fake))``, which has the same fixed point and a gradient where
    the discriminator is sure (Goodfellow et al., section 3). Zhu et al. 2017 train with least squares instead;
    here the equation's form is kept.
    """

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Mean loss of calling these logits real (or fake).

        Args:
            logits: of any shape.
            real: what they should say.
        """
        logits = logits.float()
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
