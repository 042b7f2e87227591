"""What a training leaves behind to be read: progress bar, CSV, TensorBoard scalars and images."""

from __future__ import annotations

import csv
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from crossem.io import atomic_output
from crossem.report import overlay_rgb

logger = logging.getLogger(__name__)
CSV_NAME = "log.csv"


class TrainingLog:
    """Handler that logs every loss term under its own name, the validation scores, and an overlay.

    ``output_dir/log.csv`` has one row an epoch; ``output_dir/tensorboard`` the same scalars, the middle slice
    of the first validation volume with its truth and prediction, and the images that the method gives, which
    are in ``output_dir/images/NAME.png`` too, as they were after the last epoch.

    Args:
        output_dir: where the logs go.
        validator: the evaluator that runs after each epoch (or every few); None where nothing is validated.
    """

    def __init__(self, output_dir: str | Path, validator: SupervisedEvaluator | None) -> None:
        self.output_dir, self.validator = Path(output_dir), validator
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, float] = defaultdict(float)
        self.skipped = 0
        self.overlays: dict[str, np.ndarray] = {}
        self.validated = False
        self.writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        # disable=None: no bar where the output is a file
        ProgressBar(desc="training", ncols=100, disable=None).attach(
            engine, output_transform=lambda o: {"loss": o["loss"]}
        )
        if self.validator is not None:
            self.validator.add_event_handler(Events.ITERATION_COMPLETED, self._keep_overlay)

    def _start(self, engine: Engine) -> None:
        path = self.output_dir / CSV_NAME
        if engine.state.epoch and path.is_file():  # resumed: rows of epochs that are run again are dropped
            with path.open(newline="") as file:
                rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
            self.rows = [row for row in rows if int(row["epoch"]) <= engine.state.epoch]
        self.writer = SummaryWriter(str(self.output_dir / "tensorboard"), purge_step=engine.state.epoch + 1)
        logger.info(
            "training on %s, epochs %d to %d of %d steps; results go to %s",
            engine.state.device,
            engine.state.epoch + 1,
            engine.state.max_epochs,
            engine.state.epoch_length,
            self.output_dir,
        )
        self.started = time.monotonic() - (float(self.rows[-1]["seconds"]) if self.rows else 0)

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        self.skipped += output["skipped"]
        if not output["skipped"]:
            for name, value in {"loss": output["loss"], **output["terms"]}.items():
                self.sums[name] += value

    def _keep_overlay(self, engine: Engine) -> None:
        self.validated = True
        if engine.state.iteration != 1:
            return
        image, label, pred = (engine.state.output[0][key] for key in ("image", "label", "pred"))
        z = label.shape[1] // 2
        # the image is on the working grid, label and prediction are on the file's
        raw = image[0, round((z + 0.5) * image.shape[1] / label.shape[1] - 0.5)].cpu().numpy()
        rows, columns = (np.linspace(0, raw.shape[a] - 1, label.shape[a + 2]).round().astype(int) for a in range(2))
        raw = raw[np.ix_(rows, columns)]
        self.overlays = {
            "validation/truth": overlay_rgb(raw, label[0, z].cpu().numpy()),
            "validation/prediction": overlay_rgb(raw, pred[0, z].cpu().numpy()),
        }

    def _write(self, engine: Engine) -> None:
        epoch, steps = engine.state.epoch, engine.state.epoch_length
        row = {"epoch": epoch, "seconds": round(time.monotonic() - self.started, 1)}
        row |= {name: value / (steps - self.skipped) for name, value in self.sums.items()}
        row["skipped_steps"] = self.skipped
        row["learning_rate"] = engine.optimizer.param_groups[0]["lr"]
        if self.validated:
            row |= {f"validation_{k}": v for k, v in self.validator.state.metrics.items()}
        self.rows.append(row)
        self._write_csv()
        self._write_images(engine.state.output["images"])
        score = f", validation mean IoU {row['validation_mean_iou']:.3f}" if self.validated else ""
        logger.info("epoch %d of %d: loss %.3f%s", epoch, engine.state.max_epochs, row.get("loss", float("nan")), score)
        for name, value in row.items():
            self.writer.add_scalar(name, value, epoch)
        for name, image in self.overlays.items():
            self.writer.add_image(name, image, epoch, dataformats="HWC")
        self.writer.flush()
        self.sums.clear()
        self.skipped = 0
        self.overlays, self.validated = {}, False

    def _finish(self, engine: Engine) -> None:
        self.writer.close()
        logger.info("the weights are %s, the log is %s", self.output_dir / "model.pt", self.output_dir / CSV_NAME)

    def _write_images(self, images: Mapping[str, Tensor]) -> None:
        for name, image in images.items():
            picture = overlay_rgb(image[0, 0, image.shape[2] // 2].float().cpu().numpy())
            self.overlays[name] = picture
            path = self.output_dir / "images" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            with atomic_output(path, path.suffix) as temporary:
                Image.fromarray(picture).save(temporary)

    def _write_csv(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        path = self.output_dir / CSV_NAME
        with atomic_output(path, path.suffix) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
