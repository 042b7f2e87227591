"""Segmentation with two networks, the second of which has to see an object too."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from os import PathLike
from typing import Any

import cc3d
import numpy as np
import torch
from monai.inferers import Inferer

from crossem.checks import checked_number
from crossem.networks import AnisotropicUNet, prepare_network
from crossem.transforms import best_class
from crossem.transforms._tensors import plain

logger = logging.getLogger(__name__)


class ConfirmedInferer(Inferer):
    """The probabilities of a network, without the objects that a second network does not see.

    Networks that were adapted in different ways seldom agree on what they find falsely. An object is what is connected
    of one class other than the first, also by corners, in the classes of the network's best probabilities. It stays as
    it is where the second network gives enough of its voxels the same class; else its voxels become sure background.

    Args:
        inferer: makes probabilities (1, C, Z, Y, X) of a volume and a network, as `SlidingWindowInferer`.
        confirming: the second network, with the same classes in the same order.
        min_confirmed: the smallest share of an object's voxels, 0 ... 1, that confirms it; 0 keeps all.

    Raises:
        InputError: when the share is no number from 0 to 1.
    """

    def __init__(self, inferer: Inferer, confirming: Callable[..., torch.Tensor], min_confirmed: float) -> None:
        super().__init__()
        self.inferer, self.confirming = inferer, confirming
        self.min_confirmed = checked_number("min_confirmed", min_confirmed, maximum=1.0)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """As the inferer; one volume of probabilities at a time, and that of the second network does not stay."""
        confirmed = best_class(plain(self.inferer(inputs, self.confirming, *args, **kwargs)[0])).cpu().numpy()
        output = self.inferer(inputs, network, *args, **kwargs)
        probabilities = plain(output[0])  # of the same memory
        classes = best_class(probabilities).cpu().numpy()
        objects = cc3d.connected_components(classes, connectivity=26)
        dropped = _share(objects, classes == confirmed) < self.min_confirmed
        gone = dropped[objects]
        _tell(dropped, np.count_nonzero(gone) / max(np.count_nonzero(classes), 1))
        gone = torch.from_numpy(gone).to(probabilities.device)
        probabilities.masked_fill_(gone, 0.0)
        probabilities[0].masked_fill_(gone, 1.0)
        return output


def confirmed_inferer(
    inferer: Inferer,
    network: AnisotropicUNet,
    device: torch.device,
    confirmed_by: str | PathLike | None,
    min_confirmed: float,
) -> Inferer:
    """The inferer itself, or where there are weights of a second network, one that asks it too.

    Args:
        inferer: of one network.
        network: what the weights are of; it stays as it is.
        device: where the second network goes.
        confirmed_by: weights of the second network, such as another method's ``model.pt``; None for none.
        min_confirmed: see `ConfirmedInferer`.

    Raises:
        InputError: when the weights are missing, or of another network; when the share is no number from 0 to 1.
    """
    checked_number("min_confirmed", min_confirmed, maximum=1.0)
    if confirmed_by is None:
        return inferer
    confirming = prepare_network(copy.deepcopy(network), device, confirmed_by).eval()
    return ConfirmedInferer(inferer, confirming, min_confirmed)


def _tell(dropped: np.ndarray, share: float) -> None:
    """Log what goes, as a warning where it is most of what was found."""
    level = logging.WARNING if share > 0.5 else logging.INFO
    text = (
        "%d of %d objects, small and ragged ones among them, and %.0f %% of the voxels that were found are dropped: "
        "the second network does not confirm them"
    )
    logger.log(level, text, dropped.sum(), len(dropped) - 1, 100 * share)


def _share(objects: np.ndarray, agreed: np.ndarray) -> np.ndarray:
    """Which share of each object's voxels is agreed on; of what is no object, number 0, all."""
    count = int(objects.max()) + 1
    # section by section: a count of the whole would make an int64 copy of it first
    sections = zip(objects, agreed, strict=True)
    counts = sum(
        np.stack([np.bincount(part.ravel(), minlength=count) for part in (section, section[where])])
        for section, where in sections
    )
    counts[:, 0] = 1
    return counts[1] / counts[0]
