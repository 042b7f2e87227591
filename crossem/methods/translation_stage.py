"""The order of translate-then-segment: what is still to do, and the generator in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn

from crossem.checks import checked_number
from crossem.errors import InputError
from crossem.io import check_output_folder
from crossem.methods.checkpoint import CHECKPOINT, Checkpoint, prepare_output_dir
from crossem.networks import load_weights
from crossem.transforms import normalize_slices, translate_slices

logger = logging.getLogger(__name__)
_NEEDED_BYTES = 600_000_000  # checkpoints of both stages; a new one is whole before the old one goes


class TranslationStage:
    """Stage 1 of a training in two stages: whether it has to run, and the generator that it leaves to stage 2.

    Stage 2 writes into ``output_dir``, stage 1 into ``output_dir/translate``. Stage 1 runs unless a ``translator`` is
    given or, with ``resume``, it is finished. A run that was killed between the stages is resumed like any other.
    What an earlier run left is moved away as the stage is built.

    Args:
        output_dir: of stage 2.
        generator: what translates for stage 2 (the average that stage 1 makes); loaded where stage 1 does not run.
        epochs: of stage 1.
        translator: ``model.pt`` of an earlier stage 1, in place of stage 1.
        resume: go on with the run in ``output_dir``.

    Attributes:
        is_done: whether the generator is trained; stage 1's trainer is needed only where it is not.
        resumes_segmentation: whether stage 2 goes on from a checkpoint: not if the run to resume ended before the
            first one.

    Raises:
        InputError: when ``epochs`` is below 1; when there is no such translator, or it has another architecture;
            when stage 1 should go on, and stage 2 has begun; when the disk is full.
    """

    def __init__(
        self,
        output_dir: str | PathLike,
        generator: nn.Module,
        epochs: int,
        translator: str | PathLike | None = None,
        resume: bool = False,
    ) -> None:
        checked_number("translate_epochs", epochs, minimum=1)
        self.output_dir, self.folder, self.generator = Path(output_dir), Path(output_dir) / "translate", generator
        has_checkpoint = (self.output_dir / CHECKPOINT).is_file()
        self.resumes_segmentation = resume and (translator is not None or has_checkpoint)
        self.is_done = translator is not None or (resume and self._is_finished(epochs, has_checkpoint))
        if self.is_done:
            self._load(translator or self.folder / "model.pt")
        _wait_for_all()  # nobody may move a run before everybody has looked
        if not self.is_done and _is_first():
            prepare_output_dir(self.output_dir, resume)
            check_output_folder(self.output_dir, _NEEDED_BYTES)
        _wait_for_all()

    def learn(self, trainer: SupervisedTrainer | None) -> None:
        """Run stage 1.

        Args:
            trainer: of stage 1; None where it is done, and the trainer thus not built.
        """
        if trainer is not None:
            trainer.run()
            self.is_done = True

    def write(self, saving: Callable, items: Sequence[Mapping[str, Any]]) -> None:
        """Apply a transform that saves to datalist items, in the first process of a distributed run."""
        if _is_first():
            for item in items:
                saving(item)

    def _is_finished(self, epochs: int, has_begun_stage_2: bool) -> bool:
        """Whether the run to resume has done stage 1."""
        after = self.output_dir / CHECKPOINT
        if has_begun_stage_2 and not (self.folder / CHECKPOINT).is_file():
            raise InputError(f"resume: {after} was trained with a translator; give the same one as translator")
        done = Checkpoint(self.folder, {}, resume=True).saved["epoch"]
        if has_begun_stage_2 and done < epochs:
            raise InputError(
                f"translate_epochs is {epochs}, and {after} is trained on the translations of {done} already: "
                f"resume with translate_epochs {done}, or start anew without resume"
            )
        return done >= epochs

    def _load(self, path: str | PathLike) -> None:
        try:
            load_weights(self.generator, path, options="generator_channels and residual_blocks")
        except InputError as error:
            raise InputError(f"translator: {error}") from error
        logger.info("slices are translated by %s", path)


class SourceTranslation:
    """Handler of stage 2's trainer: as it starts, its source images are translated, and normalised again.

    Labels stay, as nothing moves. Not done in the preprocessing, so that all of stage 2 can be built, and its options
    checked, before stage 1 runs.

    Args:
        stage: stage 1, with the generator.

    Raises:
        InputError: when stage 2 starts and the generator is not trained.
    """

    def __init__(self, stage: TranslationStage) -> None:
        self.stage, self.is_done = stage, False

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._translate)

    def _translate(self, engine: SupervisedTrainer) -> None:
        if not self.stage.is_done:
            raise InputError("there is no translator yet: run stage 1 before stage 2, or give a translator")
        if not self.is_done:
            for volume in engine.data_loader.dataset.domains["source"].volumes:
                volume["image"] = normalize_slices(translate_slices(volume["image"], self.stage.generator))
        self.is_done = True


def check_no_target_labels(label_fraction: float) -> None:
    """For a stage 2 that is trained on translated source patches alone.

    Raises:
        InputError: when target labels are asked for.
    """
    if label_fraction != 0:
        raise InputError(
            f"label_fraction is {label_fraction}: no target labels are used here; give 0, or add align.json to the "
            "configs, which uses them"
        )


def _is_first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
