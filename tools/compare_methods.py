"""Unsupervised methods next to source-only: one network, data, seed and number of steps; scores on the target.

A finished run is not repeated, a stopped one goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from bundle_runs import finished, run, write_json

from crossem.io import check_output_folder


class Method(NamedTuple):
    """How a method is run: its bundle, the overlays of train.json, and options.

    Options may name {epochs} and {work_dir}, the folder of all runs.
    """

    bundle: str
    overlays: tuple[str, ...] = ()
    options: dict[str, str] = {}


METHODS = {
    "source-only": Method("em_unet_finetune_segmentation"),
    "dann": Method("em_dann_segmentation"),
    "mmd": Method("em_dann_segmentation", ("mmd.json",)),
    "coral": Method("em_dann_segmentation", ("coral.json",)),
    "entropy": Method("em_dann_segmentation", ("entropy.json",), {"alignment": "none"}),
    "ynet": Method("em_ynet_segmentation"),
    "cyclegan": Method("em_cyclegan_segmentation", options={"translate_epochs": "{epochs}"}),
    "cyclegan-align": Method(  # after cyclegan, whose translator it takes
        "em_cyclegan_segmentation", ("align.json",), {"translator": "{work_dir}/cyclegan/translate/model.pt"}
    ),
}


def outcome(method: Method, common: dict[str, object], split: str, folder: Path) -> dict[str, Any]:
    """Train and evaluate one method: its command, seconds, last losses, and scores on the target."""
    given = {"epochs": common["epochs"], "work_dir": folder.parent}
    options = common | {key: value.format(**given) for key, value in method.options.items()}
    known = finished(folder / "result.json", options)
    if known is None:
        command = run(method.bundle, "training", ("train.json", *method.overlays), options, folder)
        last = list(csv.DictReader((folder / "log.csv").open()))[-1]
        log = {name: value for name, value in last.items() if not name.startswith("validation_")}
        evaluation = {"datalist": common["datalist"], "domain": "target", "split": split}
        evaluation["checkpoint"] = folder / "model.pt"
        run(method.bundle, "evaluating", ("train.json", "evaluate.json"), evaluation, folder / "evaluation")
        scores = json.loads((folder / "evaluation" / "scores.json").read_text())["scores"]
        known = {"command": command, "options": {k: str(v) for k, v in options.items()}, "scores": scores, "log": log}
        write_json(known, folder / "result.json")
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=list(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--split", default="validation", help="of the target, scored")
    parser.add_argument("--epochs", type=int, default=10, help="of each run, of 50 steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="more options of every training")
    parser.add_argument("--work_dir", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--output", type=Path, required=True, help="results JSON")
    arguments = parser.parse_args()
    if unknown := set(arguments.methods) - METHODS.keys():
        parser.error(f"unknown method {', '.join(sorted(unknown))}: give any of {', '.join(METHODS)}")

    check_output_folder(arguments.output.parent)
    common = {"datalist": arguments.datalist, "epochs": arguments.epochs, "seed": arguments.seed}
    common |= {"val_interval": arguments.epochs} | dict(option.split("=", 1) for option in arguments.options)
    results = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    for name in arguments.methods:
        results[name] = outcome(METHODS[name], common, arguments.split, arguments.work_dir / name)
        write_json(results, arguments.output)
        print(f"{name}: target {arguments.split} IoU {results[name]['scores']['mean_iou']:.3f}", flush=True)


if __name__ == "__main__":
    main()
