"""The confusion matrix of two label volumes."""

import numpy as np
import torch

from crossem.errors import InputError

IGNORED_LABEL = 255
"""A voxel whose truth has this value is unlabelled and never counts."""

_CHUNK_VOXELS = 1 << 22  # bounds the int64 temporaries to some tens of MiB, whatever the volume

Labels = torch.Tensor | np.ndarray


def confusion_matrix(prediction: Labels, truth: Labels, num_classes: int, mask: Labels | None = None) -> torch.Tensor:
    """Count the voxels of every (true class, predicted class) pair.

    Args:
        prediction: class indices, any shape, values 0..num_classes-1.
        truth: class indices of the same shape; ``IGNORED_LABEL`` (255) marks voxels that do not count.
        num_classes: number of classes, 1..255.
        mask: voxels that count (non-zero), the same shape; a weight map works. None: all of them.

    Returns:
        (num_classes, num_classes) int64 on the CPU; row = true class, column = predicted class, as in
        scikit-learn. Matrices of several volumes add up.

    Raises:
        InputError: shapes differ, or a counted voxel is not a class index.
    """
    if not 1 <= num_classes <= IGNORED_LABEL:
        raise InputError(f"num_classes is {num_classes}; give a number from 1 to {IGNORED_LABEL}")
    volumes = [torch.as_tensor(v).reshape(-1) for v in (prediction, truth)]
    shapes = {"prediction": tuple(prediction.shape), "truth": tuple(truth.shape)}
    if mask is not None:
        volumes.append(torch.as_tensor(mask).reshape(-1))
        shapes["mask"] = tuple(mask.shape)
    if len(set(shapes.values())) > 1:
        raise InputError(f"shapes differ: {shapes}; bring all volumes to the same grid first")
    counts = torch.zeros(num_classes**2, dtype=torch.int64)
    for chunk in zip(*(v.split(_CHUNK_VOXELS) for v in volumes), strict=True):
        counts += _count_pairs(*chunk, num_classes=num_classes)
    return counts.reshape(num_classes, num_classes)


def _count_pairs(
    prediction: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor | None = None, *, num_classes: int
) -> torch.Tensor:
    """Flat counts (num_classes**2,) of one chunk, on the CPU."""
    counted = truth != IGNORED_LABEL
    if mask is not None:
        counted &= mask.to(counted.device) != 0
    prediction = _class_indices(prediction.to(counted.device)[counted], "prediction", num_classes)
    truth = _class_indices(truth[counted], "truth", num_classes)
    return torch.bincount(truth * num_classes + prediction, minlength=num_classes**2).cpu()


def _class_indices(values: torch.Tensor, name: str, num_classes: int) -> torch.Tensor:
    """The values as int64, after checking that each is a class index."""
    indices = values.long()
    valid = (indices >= 0) & (indices < num_classes) & (indices == values)
    if not valid.all():
        found = values[~valid][0].item()
        raise InputError(
            f"{name} holds the value {found}, which is no class index 0..{num_classes - 1}; "
            f"map the labels to class indices ({IGNORED_LABEL} in the truth means unlabelled)"
        )
    return indices
