"""The choice of voxel weights in a training on boundaries."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import Identityd, Transform

from crossem.errors import InputError
from crossem.transforms.ratio_weight import RatioWeightMapd
from crossem.transforms.weights import DistanceWeightMapd, EntropyWeightMapd

BOUNDARY = "boundary"
WEIGHTINGS = ("distance", "entropy", "ratio", "none")


def boundary_weights(
    kind: str,
    class_names: Sequence[str],
    distance_sigma_nm: float = 100.0,
    entropy_window_zyx: Sequence[int] = (1, 5, 5),
    boundary_ratio: float = 10.0,
) -> Transform:
    """The transform that writes the "weight" of a "label", where there is one; for `training_preprocessing`.

    Roy and Chakraborty: "entropy" in section 4.1, "distance" in 4.2, "ratio" and its values in 5.2.

    Args:
        kind: "distance", "entropy", "ratio" or "none"; see `DistanceWeightMapd`, `EntropyWeightMapd` and
            `RatioWeightMapd`.
        class_names: names of the classes in the order of their indices.
        distance_sigma_nm: "distance" only: standard deviation of the Gaussian.
        entropy_window_zyx: "entropy" only: odd window lengths in voxels.
        boundary_ratio: "ratio" only: weight of the boundary divided by that of the rest.

    Raises:
        InputError: for another `kind`, for "distance" and "ratio" without a class named "boundary", and for what
            the transforms refuse.
    """
    if kind not in WEIGHTINGS:
        raise InputError(f"weighting is {kind!r}: give one of {', '.join(WEIGHTINGS)}")
    if kind == "none":
        return Identityd("label", allow_missing_keys=True)
    if kind == "entropy":
        return EntropyWeightMapd("label", len(class_names), entropy_window_zyx, allow_missing_keys=True)
    boundary_class = _boundary_class(kind, class_names)
    if kind == "distance":
        return DistanceWeightMapd("label", boundary_class, distance_sigma_nm, allow_missing_keys=True)
    return RatioWeightMapd("label", boundary_class, boundary_ratio, allow_missing_keys=True)


def _boundary_class(kind: str, class_names: Sequence[str]) -> int:
    if BOUNDARY not in class_names:
        raise InputError(
            f"weighting is {kind!r} and the datalist's classes are {', '.join(class_names)}: one has to be named "
            f"{BOUNDARY!r}, or take weighting entropy or none"
        )
    return list(class_names).index(BOUNDARY)
