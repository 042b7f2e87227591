"""Entropy of a segmentation, and the maps it is the sum of."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def self_information(logits: Tensor) -> Tensor:
    """Weighted self-information -p log(p) / log(C) of each class, (B, C, Z, Y, X) to the same shape, in float32.

    The maps on which Vu et al. 2019 ("ADVENT", CVPR, section 3.2) compare the domains. Their sum over the classes
    is the entropy, from 0 (certain) to 1 (all classes alike).
    """
    log_probability = functional.log_softmax(logits.float(), dim=1)
    return -log_probability.exp() * log_probability / math.log(logits.shape[1])


def entropy_loss(logits: Tensor) -> Tensor:
    """Mean entropy of the voxels, from 0 to 1 (Vu et al. 2019, equations 2 and 3).

    Args:
        logits: (B, C, Z, Y, X).
    """
    return self_information(logits).sum(dim=1).mean()
