"""Fine-tuning against training from scratch over the share of target labels, by the bundle's own commands.

A finished run is not repeated, a stopped one goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

from crossem.io import atomic_output, check_output_folder
from crossem.report import label_fraction_curve, save_figure

CONFIGS = Path("bundles/em_unet_finetune_segmentation/configs")


def run(run_id: str, overlay: str, options: dict[str, object], output_dir: Path) -> str:
    """Run `python -m monai.bundle run`, its output in `output_dir.log`; returns the command as typed."""
    files = str([str(CONFIGS / "train.json"), str(CONFIGS / overlay)])
    pairs = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", files, *pairs, "--output_dir", str(output_dir)]
    resume = ["--resume", "True"] if (output_dir / "checkpoint.pt").exists() else []
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{output_dir}.log", "w") as log:
        if subprocess.run([sys.executable, *command, *resume], stdout=log, stderr=log).returncode:
            sys.exit(f"error: {output_dir} failed, see {output_dir}.log")
    return f"python {shlex.join(command)}"


def write_json(content: dict[str, object], path: Path) -> None:
    with atomic_output(path, path.suffix) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def training(options: dict[str, object], output_dir: Path) -> dict[str, object]:
    """One training: its command and the validation scores of its last epoch."""
    result, wanted = output_dir / "result.json", {key: str(value) for key, value in options.items()}
    if result.is_file() and json.loads(result.read_text())["options"] != wanted:
        sys.exit(f"error: {result} is of other options: give another --work_dir")
    if not result.is_file():
        command = run("training", "finetune.json", options, output_dir)
        row = list(csv.DictReader((output_dir / "log.csv").open()))[-1]
        scores = {k.removeprefix("validation_"): float(v) for k, v in row.items() if k.startswith("validation_")}
        outcome = {"command": command, "options": wanted, "seconds": float(row["seconds"]), "scores": scores}
        write_json(outcome, result)
    return json.loads(result.read_text())


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
        run("evaluating", "evaluate.json", options, evaluation)
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
