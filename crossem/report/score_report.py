"""Scores of an evaluation, written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from crossem.io import atomic_output, check_output_folder

logger = logging.getLogger(__name__)


class ScoreReport:
    """Handler of an evaluator: logs its scores and writes them to ``output_dir/scores.json``.

    The report names the images, and where the postprocessing saves the predictions, their files in the same order.

    Args:
        output_dir: created when it does not exist.
        checkpoint: the weights that were evaluated, named in the report.
        options: what else the scores depend on, by the names of the options; they stand in the report as they are.
    """

    def __init__(self, output_dir: str | Path, checkpoint: str | Path, options: Mapping[str, Any]) -> None:
        self.path, self.checkpoint = check_output_folder(output_dir) / "scores.json", Path(checkpoint)
        self.options = dict(options)
        self.predictions: list[str] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.predictions.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.note_predictions)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def note_predictions(self, engine: SupervisedEvaluator) -> None:
        """Remember where ``SaveVolumed`` has put the predictions of a batch."""
        metas = [item["pred"].meta for item in engine.state.output]
        self.predictions += [meta["saved_to"] for meta in metas if "saved_to" in meta]

    def write(self, engine: SupervisedEvaluator) -> None:
        scores = {name: float(value) for name, value in engine.state.metrics.items()}
        images = [str(item["image"]) for item in engine.data_loader.dataset.data]
        report = {"checkpoint": str(self.checkpoint), "options": self.options, "images": images, "scores": scores}
        if self.predictions:
            report["predictions"] = self.predictions
        with atomic_output(self.path, self.path.suffix) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
        logger.info("%s", ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
        logger.info("scores of %s written to %s", self.checkpoint, self.path)
