"""What every score of an evaluator shares: class maps of whole volumes, and all its numbers in the engine's state."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.handlers import from_engine

from crossem.errors import InputError

_PRED_AND_LABEL = from_engine(["pred", "label"])


class VolumeScore(Metric):
    """An ignite metric of class maps, for the `key_val_metric` or `additional_metrics` of MONAI's evaluators.

    A subclass counts volumes (`count`) and makes the scores of all of them together (`as_dict`); on completion
    these are put in `engine.state.metrics` under their own names, beside the key value (`compute`). In a
    distributed run every process validates the same volumes, so nothing is reduced.

    Args:
        class_names: one name a class, the background first.
        output_transform: makes `(pred, label)` of `engine.state.output`, each a list of channel-first
            volumes: (1, Z, Y, X) class indices, or (classes, Z, Y, X) probabilities or one-hot. A voxel of
            label 255 is unlabelled and does not count.
    """

    def __init__(self, class_names: Sequence[str], output_transform: Callable[[Any], Any] = _PRED_AND_LABEL) -> None:
        if len(class_names) < 2:
            raise InputError(f"class_names is {list(class_names)}; give the background and one class or more")
        self.class_names = tuple(class_names)
        super().__init__(output_transform=output_transform, skip_unrolling=True)

    @abstractmethod
    def count(self, pred: torch.Tensor, label: torch.Tensor) -> None:
        """Add one volume to the counts: two (1, Z, Y, X) maps of class indices."""

    @abstractmethod
    def as_dict(self) -> dict[str, float]:
        """All scores of the volumes counted so far, by name."""

    def update(self, output: Sequence[Any]) -> None:
        """Count one volume `(pred, label)`, or lists or batches of them.

        Raises:
            InputError: a volume has neither one channel nor one a class, or the shapes differ.
        """
        if not isinstance(output[0], torch.Tensor) or output[0].ndim == 5:
            for volumes in zip(*output, strict=True):
                self.update(volumes)
            return
        pred, label = output
        self.count(self._class_map(pred, "pred"), self._class_map(label, "label"))

    def completed(self, engine: Engine, name: str) -> None:
        """Store the key value under `name`, and all scores under their own names."""
        super().completed(engine, name)
        engine.state.metrics.update(self.as_dict())

    def _class_map(self, volume: torch.Tensor, name: str) -> torch.Tensor:
        """(1, Z, Y, X) class indices of a channel-first volume."""
        volume = volume.detach()
        if volume.shape[0] == 1:
            return volume
        if volume.shape[0] == len(self.class_names):
            return volume.argmax(dim=0, keepdim=True)
        raise InputError(
            f"{name} has shape {tuple(volume.shape)}; its first axis must be 1 (class indices) "
            f"or {len(self.class_names)} (one channel a class)"
        )
