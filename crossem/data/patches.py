"""Random training patches from a few large volumes, the same at every resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from crossem.errors import InputError
from crossem.io import voxel_size_zyx_nm

KEYS = ("image", "label", "weight")


class PatchDataset(Dataset):
    """Patches drawn at random from volumes that are loaded and preprocessed once.

    Patch ``index`` depends on ``seed`` and ``index`` only, not on the worker or on what was drawn before: a
    resumed run sees the patches of an uninterrupted one.

    Args:
        data: datalist items.
        transform: deterministic preprocessing, from an item to "image" (1, Z, Y, X) and, where there are
            labels, "label" and "weight" of the same shape.
        roi_size_zyx: patch size in voxels; shorter axes are reflected.
        augmentation: random transform of one patch.
        foreground_share: share of patches drawn so that they hold a foreground voxel.
        labelled_share: share of the other patches drawn so that they hold a labelled voxel; for adaptation, the
            rest of a volume that is labelled in part is worth seeing too.
        seed: of all random choices.

    Raises:
        InputError: when there are no items, they differ in voxel size after ``transform``, or a share is not in
            0 ... 1.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable,
        roi_size_zyx: Sequence[int],
        augmentation: Compose,
        foreground_share: float = 0.5,
        labelled_share: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not data:
            raise InputError("the training datalist is empty: give at least one item with an image")
        for name, share in {"foreground_share": foreground_share, "labelled_share": labelled_share}.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name} is {share}: give a number from 0 to 1")
        self.data, self.transform, self.augmentation = data, transform, augmentation
        self.roi_size_zyx, self.seed = tuple(roi_size_zyx), seed
        self.foreground_share, self.labelled_share = foreground_share, labelled_share
        self.voxel_sizes_zyx_nm: dict[str, tuple[float, ...]] = {}
        self.volumes = [self._load(item) for item in data]
        check_one_voxel_size(self.voxel_sizes_zyx_nm)
        self.candidates = [_candidates(v) for v in self.volumes]
        labelled = np.array([_labelled_voxels(v) for v in self.volumes], dtype=float)
        self.shares = labelled / labelled.sum()

    def _load(self, item: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        loaded = self.transform(item)
        if isinstance(loaded["image"], MetaTensor):
            self.voxel_sizes_zyx_nm[str(item["image"])] = voxel_size_zyx_nm(loaded["image"])
        volume = {k: torch.as_tensor(loaded[k]).clone() for k in KEYS if k in loaded}
        return {k: _reflect_to(getattr(v, "as_tensor", lambda v=v: v)(), self.roi_size_zyx) for k, v in volume.items()}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        child_seed = np.random.SeedSequence([self.seed, index]).generate_state(1)[0]
        rng = np.random.RandomState(child_seed)
        which = rng.choice(len(self.volumes), p=self.shares)
        volume = self.volumes[which]
        start = self._start(rng, volume["image"].shape[1:], *self.candidates[which])
        window = (slice(None), *(slice(s, s + n) for s, n in zip(start, self.roi_size_zyx, strict=True)))
        patch = {k: v[window].clone() for k, v in volume.items()}
        patch["image"] = patch["image"].float()
        self.augmentation.set_random_state(seed=int(rng.randint(2**31)))
        augmented = self.augmentation(patch)
        return {k: torch.as_tensor(v).contiguous() for k, v in augmented.items()}

    @property
    def foreground_fraction(self) -> float:
        """Share of the labelled voxels that are foreground, 0 ... 1, all volumes together."""
        pairs = [(v["label"] > 0, v.get("weight")) for v in self.volumes]
        foreground = sum(int((f if w is None else f & (w > 0)).sum()) for f, w in pairs)
        labelled = sum(f.numel() if w is None else int((w > 0).sum()) for f, w in pairs)
        return foreground / labelled

    def _start(
        self,
        rng: np.random.RandomState,
        shape_zyx: Sequence[int],
        foreground: np.ndarray | None,
        labelled: np.ndarray | None,
    ) -> list[int]:
        """First voxel of a window: around a foreground voxel, around a labelled one, or anywhere."""
        upper = [n - r for n, r in zip(shape_zyx, self.roi_size_zyx, strict=True)]
        wants_foreground = rng.rand() < self.foreground_share
        centres = foreground if wants_foreground and foreground is not None else labelled
        if centres is labelled and labelled is not None and rng.rand() >= self.labelled_share:
            centres = None
        if centres is None:
            return [int(rng.randint(u + 1)) for u in upper]
        centre = np.unravel_index(centres[rng.randint(len(centres))], tuple(shape_zyx))
        offset = [rng.randint(r) for r in self.roi_size_zyx]
        return [int(np.clip(c - o, 0, u)) for c, o, u in zip(centre, offset, upper, strict=True)]


def _labelled_voxels(volume: Mapping[str, torch.Tensor]) -> float:
    return float((volume["weight"] > 0).sum()) if "weight" in volume else float(volume["image"].numel())


def _candidates(volume: Mapping[str, torch.Tensor]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Flat indices of foreground voxels and of labelled voxels; None where there is nothing to choose from."""
    labelled = (volume["weight"] > 0) if "weight" in volume else None
    everywhere = labelled is None or bool(labelled.all())
    if "label" not in volume:
        return None, None
    foreground = volume["label"] > 0
    if not everywhere:
        foreground = foreground & labelled
    indices = np.flatnonzero(foreground.numpy())
    return (indices if len(indices) else None), (None if everywhere else np.flatnonzero(labelled.numpy()))


def _reflect_to(volume: torch.Tensor, size_zyx: Sequence[int]) -> torch.Tensor:
    """Mirror the axes that are shorter than ``size_zyx`` up to it (any length, 1 included)."""
    for axis, size in enumerate(size_zyx, start=1):
        length = volume.shape[axis]
        if length < size:
            before = (size - length) // 2
            index = np.pad(np.arange(length), (before, size - length - before), mode="symmetric")
            volume = volume.index_select(axis, torch.from_numpy(index))
    return volume


def check_one_voxel_size(sizes_zyx_nm: Mapping[str, Sequence[float]]) -> None:
    """Refuse volumes that are not on one working grid (resampling leaves a size that is within 10 % of it).

    Raises:
        InputError: naming two volumes, by the keys of ``sizes_zyx_nm``, and their voxel sizes in nm.
    """
    for name, size in sizes_zyx_nm.items():
        first_name, first = next(iter(sizes_zyx_nm.items()))
        if any(max(a, b) > 1.25 * min(a, b) for a, b in zip(first, size, strict=True)):
            sizes = [f"{[round(v, 2) for v in s]} nm of {n}" for n, s in ((first_name, first), (name, size))]
            raise InputError(
                f"working voxel sizes differ, {' and '.join(sizes)}: give all one working_voxel_size_zyx_nm"
            )


class PairedDataset(Dataset):
    """Patches of the domains side by side: item i is ``{"source": source[i], "target": target[i]}``.

    Raises:
        InputError: when the domains differ in voxel size.
    """

    def __init__(self, **domains: PatchDataset) -> None:
        check_one_voxel_size({k: v for dataset in domains.values() for k, v in dataset.voxel_sizes_zyx_nm.items()})
        self.domains = domains

    def __getitem__(self, index: int) -> dict[str, dict[str, torch.Tensor]]:
        return {name: dataset[index] for name, dataset in self.domains.items()}


class EpochSampler(DistributedSampler):
    """Numbers the patches through all epochs, so that no two epochs, and no two processes, draw the same one.

    The engine calls ``set_epoch``, as it does for every DistributedSampler.
    """

    def __init__(self, patches_per_epoch: int) -> None:
        self.num_replicas, self.rank = 1, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.num_replicas, self.rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        self.patches_per_epoch = patches_per_epoch
        self.epoch = 1

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.patches_per_epoch
        return iter(range(first + self.rank, first + self.patches_per_epoch, self.num_replicas))

    def __len__(self) -> int:
        return len(range(self.rank, self.patches_per_epoch, self.num_replicas))


def training_loader(batch_size: int, steps_per_epoch: int, num_workers: int = 0, **domains: PatchDataset) -> DataLoader:
    """Loader of ``steps_per_epoch`` batches ``{"source": {...}, "target": {...}}`` an epoch and process.

    Args:
        batch_size: patches of each domain in a batch.
        steps_per_epoch: batches an epoch.
        num_workers: loader processes.
        domains: ``source=...`` and, for methods that use it, ``target=...``.
    """
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return DataLoader(
        PairedDataset(**domains),
        batch_size=batch_size,
        sampler=EpochSampler(batch_size * steps_per_epoch * world),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
