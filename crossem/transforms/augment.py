"""The augmentation that every bundle trains with."""

from __future__ import annotations

from monai.transforms import Compose, CopyItemsd

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.transforms.augment_appearance import RandDarkRegionsd, RandLocalContrastd, RandObjectIntensityd
from crossem.transforms.augment_intensity import (
    RandDarkBlobsd,
    RandEMBlurd,
    RandEMNoised,
    RandSliceIntensityd,
)
from crossem.transforms.augment_sections import RandDropSlicesd, RandShiftSlicesd
from crossem.transforms.augment_spatial import RandElasticd, RandFlipRotate90d


def em_augmentation(
    strength: float = 1.0, jitter: float = 0.0, appearance: float = 0.0, plain_copy: bool = False
) -> Compose:
    """Random changes of a patch that another microscope, section or operator would make.

    Args:
        strength: scales how often the changes other than flips are made; 0 leaves flips and rotations only.
        jitter: probability that every slice gets a contrast, brightness, gamma curve and blur of its own on top (the
            "random Jitter transform" of Roy and Chakraborty, section 5.2, for targets whose "intensity and
            resolution" vary from slice to slice).
        appearance: scales how often brightness is taken away as a sign of objects, for a target where it is none: a
            brightness of their own for the objects, dark regions that are none, local means subtracted.
        plain_copy: also give the patch after its changes of form and before those of intensity, as "plain".

    Raises:
        InputError: when ``strength`` is not in 0 ... 1.5, ``jitter`` not in 0 ... 1, or ``appearance`` not in
            0 ... 1.4.
    """
    if not 0 <= strength <= 1.5:
        raise InputError(f"augmentation_strength is {strength}: give a number from 0 to 1.5")
    if not 0 <= jitter <= 1:
        raise InputError(f"jitter is {jitter}: give a probability from 0 to 1")
    checked_number("appearance_strength", appearance, maximum=1.4)
    everything = ["image", "label", "weight"]
    changes = [
        RandFlipRotate90d(everything, allow_missing_keys=True),
        RandElasticd(everything, prob=0.4 * strength, zoom=(0.8, 1.25), allow_missing_keys=True),
        RandShiftSlicesd(everything, prob=0.2 * strength, allow_missing_keys=True),
    ]
    if plain_copy:
        changes.append(CopyItemsd("image", names="plain"))
    if appearance:
        changes += [
            RandObjectIntensityd("image", prob=0.7 * appearance),
            RandDarkRegionsd("image", prob=0.4 * appearance),
            RandLocalContrastd("image", prob=0.4 * appearance),
        ]
    changes += [
        RandSliceIntensityd("image", prob=0.6 * strength),
        RandEMBlurd("image", prob=0.2 * strength),
        RandEMNoised("image", prob=0.3 * strength),
        RandDropSlicesd("image", prob=0.1 * strength),
        RandDarkBlobsd("image", prob=0.1 * strength),
    ]
    if jitter:
        changes += [
            RandSliceIntensityd("image", jitter, slice_contrast=0.3, slice_brightness=0.5, gamma=0.8),
            RandEMBlurd("image", jitter, sigma_px=(0.0, 1.5), per_slice=True),
        ]
    return Compose(changes)
