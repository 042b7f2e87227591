"""The loss between a discriminator and what it judges."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """Mean cross entropy of calling these logits of a discriminator real (or not), in float32.

    The logarithmic loss of Goodfellow et al. 2014 (Aalto University 2022, equation 3): a discriminator minimises
    ``-log D(real) - log(1 - D(fake))``. A generator minimises ``-log D(fake)`` in place of ``log(1 - D(fake))``,
    which has the same fixed point and a gradient where the discriminator is sure (Goodfellow et al., section 3).
    log 2 for a discriminator that tells nothing.

    Args:
        logits: of any shape.
        real: what they should say.
    """
    # -log sigmoid(x) = softplus(-x), -log(1 - sigmoid(x)) = softplus(x)
    return functional.softplus(-logits.float() if real else logits.float()).mean()
