"""Maximum mean discrepancy."""

from __future__ import annotations

import torch
from torch import Tensor


def mmd(source: Tensor, target: Tensor, bandwidths: int = 5) -> Tensor:
    """Squared maximum mean discrepancy of two samples, unbiased, with a mean of Gaussian kernels, in float32.

    For n vectors each (Gretton et al. 2012, "A kernel two-sample test", lemma 6, equation 4):

        1 / (n (n - 1)) * sum over i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)

    so equal samples give 0, and samples of one distribution 0 in the mean (single values may be negative).
    The kernel is the mean of exp(-d^2 / (b m)) over b = 4, 2, 1, 1/2, 1/4, where d is the distance and m the mean
    of d^2 over all pairs of the samples, which takes no part in the gradient (Long et al. 2015, section 4.1: a
    family of kernels with bandwidths around that of the data).

    Args:
        source: (n, d) feature vectors, n > 1.
        target: (n, d), paired with ``source`` in any way.
        bandwidths: how many; each b is half the one before.
    """
    n = len(source)
    # the small differences of the cross terms do not survive bfloat16
    with torch.autocast(source.device.type, enabled=False):
        vectors = torch.cat([source, target]).float()
        squares = vectors.square().sum(1)
        distance = (squares[:, None] + squares - 2 * vectors @ vectors.T).clamp_min(0)
    mean = distance.detach().sum() / (2 * n * (2 * n - 1))
    kernels = [torch.exp(-distance / (4 * mean).clamp_min(1e-12))]
    for _ in range(bandwidths - 1):
        kernels.append(kernels[-1].square())  # half the bandwidth: cheaper than another exponential
    kernel = torch.stack(kernels).mean(0)
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[n:, :n]
    return (h.sum() - h.diagonal().sum()) / (n * (n - 1))
