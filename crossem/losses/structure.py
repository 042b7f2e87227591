"""A loss that keeps what is where when the style of an image changes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from crossem.errors import InputError


class StructureLoss(nn.Module):
    """One minus the local correlation of two images: 0 for the same structure, 2 for inverted contrast.

    The cycle loss is as well satisfied by a translation that swaps dark and bright, because the way back swaps
    them again, and so is the adversarial loss where both look real. In electron microscopy membranes are dark in
    every domain, so translation and original should correlate. With windows w (overlapping by half), covariances c
    and variances v inside them,

        loss = 1 - sum_w c_w(x, y) / sum_w sqrt(v_w(x) v_w(y))

    which does not change under gain and offset of the whole image, and in which windows without contrast count
    little. Both images are averaged over ``pool`` pixels first, so that noise, which does differ between
    microscopes, may change.

    Args:
        window: side of a window in pooled pixels.
        pool: side of the averaged squares in pixels.

    Raises:
        InputError: when ``window`` is below 2 or ``pool`` below 1.
    """

    def __init__(self, window: int = 8, pool: int = 2) -> None:
        super().__init__()
        if window < 2 or pool < 1:
            raise InputError(
                f"window is {window} and pool {pool}: give a window of at least 2 and a pool of at least 1"
            )
        self.window, self.pool = window, pool

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scalar loss of two (N, 1, Y, X) images, computed in float32; an image without contrast gives 1."""
        x, y = (functional.avg_pool2d(image.float(), self.pool) for image in (x, y))
        covariance = (self._mean(x * y) - self._mean(x) * self._mean(y)).sum()
        # the square root has no gradient at 0
        spread = (self._variance(x) * self._variance(y)).clamp_min(1e-12).sqrt().sum()
        return 1 - covariance / spread

    def _variance(self, x: Tensor) -> Tensor:
        return (self._mean(x * x) - self._mean(x).square()).clamp_min(0)

    def _mean(self, x: Tensor) -> Tensor:
        window = [min(self.window, n) for n in x.shape[-2:]]
        return functional.avg_pool2d(x, window, [max(1, n // 2) for n in window])
