"""The order of translate-then-segment: what is still to do, and the generator in between."""

from __future__ import annotations

import logging
from os import PathLike
from pathlib import Path

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from crossem.errors import InputError
from crossem.methods.checkpoint import CHECKPOINT, Checkpoint, prepare_output_dir
from crossem.networks import load_weights

logger = logging.getLogger(__name__)


class TranslationStage:
    """Stage 1 of a training in two stages: whether it has to run, and the generator that it leaves to stage 2.

    Stage 2 writes into ``output_dir``, stage 1 into ``output_dir/translate``. Stage 1 runs unless a ``translator`` is
    given or, with ``resume``, it is finished. A run that was killed between the stages is resumed like any other.

    Args:
        output_dir: of stage 2.
        generator: what translates for stage 2 (the average that stage 1 makes); loaded where stage 1 does not run.
        epochs: of stage 1.
        translator: ``model.pt`` of an earlier stage 1, in place of stage 1.
        resume: go on with the run in ``output_dir``.

    Raises:
        InputError: when ``epochs`` is below 1.
    """

    def __init__(
        self,
        output_dir: str | PathLike,
        generator: nn.Module,
        epochs: int,
        translator: str | PathLike | None = None,
        resume: bool = False,
    ) -> None:
        if epochs < 1:
            raise InputError(f"translate_epochs is {epochs}: give 1 or more, or a translator to leave stage 1 out")
        self.output_dir, self.folder = Path(output_dir), Path(output_dir) / "translate"
        self.generator, self.epochs, self.translator, self.resume = generator, epochs, translator, resume
        self.is_due: bool | None = None
        self.is_learned = self.was_used_early = False

    def begin(self, *stage_2: object) -> None:
        """Find out what is to do, load a generator that is there, and move away what an earlier run left.

        Args:
            stage_2: parts of stage 2 that check their options when they are built, so that a wrong one stops
                the run before stage 1 and not hours later.

        Raises:
            InputError: when there is no such translator, or it has another architecture; when stage 1 should go
                on, and stage 2 has begun; when stage 2's volumes are translated already, by random weights.
        """
        if self.was_used_early:
            raise InputError("train#dataset was built before there was a translator: start anew, and run first")
        self.is_due = self.translator is None and self._epochs_left() > 0
        if not self.is_due:
            self._load(self.translator or self.folder / "model.pt")
        _wait_for_all()  # nobody may write before everybody has looked
        if self.is_due and _is_first():
            prepare_output_dir(self.output_dir, self.resume)
        _wait_for_all()

    def learn(self, trainer: SupervisedTrainer | None) -> None:
        """Run stage 1.

        Args:
            trainer: of stage 1; None where it is not due, and thus not built.
        """
        if trainer is not None:
            trainer.run()
            self.is_learned = True
        _wait_for_all()  # only the first process writes what the next stage may look for

    def note_use(self) -> None:
        """For what translates with ``generator`` as it is built: a warning if that has random weights still.

        No error, as MONAI's check of a bundle's properties builds everything; ``begin`` refuses to go on after it.
        """
        if not self.is_learned:
            self.was_used_early = True
            logger.warning("slices are translated by an untrained generator: run stage 1 first, or give a translator")

    @property
    def resumes_segmentation(self) -> bool:
        """Whether stage 2 goes on from a checkpoint: not if the run to resume ended before its first one."""
        return self.resume and (self.translator is not None or (self.output_dir / CHECKPOINT).is_file())

    def _epochs_left(self) -> int:
        own, after = self.folder / CHECKPOINT, self.output_dir / CHECKPOINT
        if not self.resume:
            return self.epochs
        if after.is_file() and not own.is_file():
            raise InputError(f"resume: {after} was trained with a translator; give the same one as translator")
        done = Checkpoint(self.folder, {}, resume=True).saved["epoch"]
        if after.is_file() and done < self.epochs:
            raise InputError(
                f"translate_epochs is {self.epochs}, and {after} is trained on the translations of {done} already: "
                f"resume with translate_epochs {done}, or start anew without resume"
            )
        return max(0, self.epochs - done)

    def _load(self, path: str | PathLike) -> None:
        try:
            load_weights(self.generator, path)
        except InputError as error:
            raise InputError(
                f"translator: {error}; it has to be the model.pt of a stage 1 with the same generator_channels and "
                "residual_blocks"
            ) from error
        self.is_learned = True
        logger.info("slices are translated by %s", path)


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
