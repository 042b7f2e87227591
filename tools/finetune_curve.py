"""Fine-tuning against training from scratch over the share of target labels, by the bundle's own commands.

A finished run is not repeated, a stopped one goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from bundle_runs import finished, run, write_json

from crossem.io import check_output_folder
from crossem.report import label_fraction_curve, save_figure

BUNDLE = "em_unet_finetune_segmentation"


def training(options: dict[str, object], output_dir: Path) -> dict[str, object]:
    """One training: its command and the validation scores of its last epoch."""
    outcome = finished(output_dir / "result.json", options)
    if outcome is None:
        command = run(BUNDLE, "training", ("train.json", "finetune.json"), options, output_dir)
        row = list(csv.DictReader((output_dir / "log.csv").open()))[-1]
        scores = {k.removeprefix("validation_"): float(v) for k, v in row.items() if k.startswith("validation_")}
        used = {key: str(value) for key, value in options.items()}
        outcome = {"command": command, "options": used, "seconds": float(row["seconds"]), "scores": scores}
        write_json(outcome, output_dir / "result.json")
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, required=True, help="weights trained on the source")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.05, 0.15, 0.5, 1.0])
    parser.add_argument("--epochs", type=int, default=10, help="of each run, of 50 steps")
    parser.add_argument("--frozen_levels", type=int, default=1)
    parser.add_argument("--learning_rate", type=float, default=0.001, help="of fine-tuning; from scratch 0.002")
    parser.add_argument("--work_dir", type=Path, default=Path("runs/finetune_curve"))
    parser.add_argument("--output", type=Path, required=True, help="results JSON; the figure goes beside it")
    arguments = parser.parse_args()

    check_output_folder(arguments.output.parent)
    common = {"datalist": arguments.datalist, "epochs": arguments.epochs, "val_interval": arguments.epochs}
    variants = {
        "fine-tuned": {
            "pretrained": arguments.pretrained,
            "frozen_levels": arguments.frozen_levels,
            "learning_rate": arguments.learning_rate,
        },
        "from scratch": {"pretrained": "None", "frozen_levels": 0, "learning_rate": 0.002},
    }
    evaluation = arguments.work_dir / "source_only"
    if not (evaluation / "scores.json").is_file():
        options = {"datalist": arguments.datalist, "checkpoint": arguments.pretrained}
        run(BUNDLE, "evaluating", ("train.json", "evaluate.json"), options, evaluation)
    source_only = json.loads((evaluation / "scores.json").read_text())["scores"]
    results: dict[str, object] = {"source_only": source_only, "runs": {}}
    for fraction in arguments.fractions:
        for name, options in variants.items():
            folder = arguments.work_dir / f"{name.replace(' ', '_')}_{fraction:g}"
            outcome = training(common | options | {"label_fraction": fraction}, folder)
            results["runs"].setdefault(name, {})[str(fraction)] = outcome
            print(f"{name}, {100 * fraction:g} % of the labels: IoU {outcome['scores']['mean_iou']:.3f}", flush=True)
            write_json(results, arguments.output)
    curves = {
        name: {float(f): outcome["scores"]["mean_iou"] for f, outcome in by_fraction.items()}
        for name, by_fraction in results["runs"].items()
    }
    figure = label_fraction_curve(curves, "IoU, validation columns", {"source only": source_only["mean_iou"]})
    save_figure(figure, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
