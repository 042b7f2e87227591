"""The way of a volume from a file to the network and back, as every bundle goes it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from monai.transforms import Compose, Invertd, Transform

from crossem.transforms.best_class import BestClassd
from crossem.transforms.label_fraction import LabelFractiond
from crossem.transforms.load_save import LoadVolumed, SaveVolumed
from crossem.transforms.normalize import NormalizeSlicesd
from crossem.transforms.ragged_objects import DropRaggedObjectsd
from crossem.transforms.resample import ResampleVoxelSized
from crossem.transforms.small_objects import DropSmallObjectsd


def training_preprocessing(
    working_voxel_size_zyx_nm: Sequence[float],
    num_classes: int,
    label_fraction: float = 1.0,
    weighting: Transform | None = None,
) -> Compose:
    """Load "image" and, where an item has one, "label"; bring both to the working voxel size; normalise slices.

    Args:
        working_voxel_size_zyx_nm: voxel size that the network sees.
        num_classes: label values have to be below it.
        label_fraction: first share of the columns that counts as labelled ("weight" is 0 in the rest); 0 is for
            items without labels.
        weighting: writes a "weight" of the part of "label" that counts as labelled; see ``boundary_weights``.

    Raises:
        InputError: a voxel size or a fraction that is out of range.
    """
    keys = ["image", "label"]
    return Compose(
        [
            LoadVolumed(keys, num_classes=num_classes, channels=1, allow_missing_keys=True),
            ResampleVoxelSized(keys, working_voxel_size_zyx_nm, allow_missing_keys=True),
            NormalizeSlicesd("image"),
            LabelFractiond(fraction=label_fraction, weighting=weighting, allow_missing_keys=True),
        ]
    )


def inference_preprocessing(
    working_voxel_size_zyx_nm: Sequence[float],
    num_classes: int | None = None,
    voxel_size_zyx_nm: Sequence[float] | None = None,
) -> Compose:
    """Load "image" and bring it to the working voxel size; a "label" stays on the file's grid, to score on it.

    Args:
        working_voxel_size_zyx_nm: voxel size that the network sees.
        num_classes: label values have to be below it.
        voxel_size_zyx_nm: voxel size of files that state none.
    """
    return Compose(
        [
            LoadVolumed(
                ["image", "label"],
                num_classes=num_classes,
                channels=1,
                allow_missing_keys=True,
                voxel_size_zyx_nm=voxel_size_zyx_nm,
            ),
            ResampleVoxelSized("image", working_voxel_size_zyx_nm),
            NormalizeSlicesd("image"),
        ]
    )


def inference_postprocessing(
    preprocessing: Compose,
    output_dir: str | PathLike | None = None,
    min_object_nm3: float = 0,
    min_solidity: float = 0,
) -> Compose:
    """Bring the probabilities "pred" back to the file's grid, then take the best class; save it where asked to.

    Args:
        preprocessing: what was done to "image", to be inverted.
        output_dir: folder for the segmentations; None saves nothing.
        min_object_nm3: smaller objects become background; see `DropSmallObjectsd`.
        min_solidity: objects whose profiles fill less of their convex hulls become background; see
            `DropRaggedObjectsd`.

    Raises:
        InputError: when the volume is negative or no number, or the solidity not from 0 to 1.
    """
    steps = [
        Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False),
        BestClassd("pred"),
        DropSmallObjectsd("pred", min_object_nm3),
        DropRaggedObjectsd("pred", min_solidity),  # fewer are left to look at
    ]
    return Compose(steps if output_dir is None else [*steps, SaveVolumed("pred", output_dir)])
