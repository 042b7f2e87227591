"""Correlation alignment."""

from __future__ import annotations

import torch
from torch import Tensor


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the covariances of two samples, ||C_s - C_t||_F^2 / (4 d^2).

    Sun and Saenko 2016, "Deep CORAL", equations 1 to 3 (covariances divided by n - 1). Zero for equal samples,
    and for samples that differ in the mean alone.

    Args:
        source: (n, d) feature vectors, n > 1.
        target: (m, d), m > 1.
    """
    with torch.autocast(source.device.type, enabled=False):  # a small difference of large sums
        difference = torch.cov(source.float().T) - torch.cov(target.float().T)
    return difference.square().sum() / (4 * source.shape[1] ** 2)
