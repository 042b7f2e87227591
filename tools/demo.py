"""The main job on the synthetic phantom, by the commands a user types: see `make demo`."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

BUNDLE = Path("bundles/em_unet_finetune_segmentation")


def run(*arguments: object) -> None:
    """Show a command, run it, and stop when it fails."""
    command = [sys.executable, *map(str, arguments)]
    print(f"\n$ python {shlex.join(command[1:])}", flush=True)
    started = time.monotonic()
    if code := subprocess.run(command).returncode:
        sys.exit(code)
    print(f"({time.monotonic() - started:.0f} s)", flush=True)


def bundle(run_id: str, *configs: str, **options: object) -> None:
    """`python -m monai.bundle run RUN_ID` with configs of the bundle."""
    files = [str(BUNDLE / "configs" / name) for name in configs]
    config_file = files[0] if len(files) == 1 else str(files)
    pairs = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    run("-m", "monai.bundle", "run", run_id, "--config_file", config_file, *pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the results")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the training on the source")
    parser.add_argument("--finetune_epochs", type=int, default=3, help="epochs of the fine-tuning")
    arguments = parser.parse_args()
    started = time.monotonic()
    output = arguments.output
    phantom = BUNDLE / "data" / "phantom"
    before, after = output / "pretrained", output / "finetuned"

    print("1. Train on the labelled source (isotropic).")
    bundle("training", "train.json", epochs=arguments.epochs, val_interval=arguments.epochs, output_dir=before)
    print("\n2. Fine-tune on 15 % of the target's labels (anisotropic), the first encoder level frozen.")
    bundle(
        "training", "train.json", "finetune.json", pretrained=before / "model.pt", output_dir=after,
        label_fraction=0.15, frozen_levels=1, epochs=arguments.finetune_epochs, val_interval=arguments.finetune_epochs,
    )  # fmt: skip
    print("\n3. Segment an unseen stack of the target, before and after, and evaluate.")
    stack = json.loads((phantom / "datalist.json").read_text())["target"]["test"][0]
    scores = {}
    for folder in (before, after):
        options = {"checkpoint": folder / "model.pt", "output_dir": folder / "test"}
        bundle("inference", "inference.json", dataset_dir=phantom / stack["image"], **options)
        bundle("evaluating", "train.json", "evaluate.json", split="test", **options)
        scores[folder.name] = json.loads((folder / "test" / "scores.json").read_text())["scores"]["mean_iou"]
    print("\n4. Export TorchScript.")
    run(
        "-m", "monai.bundle", "ckpt_export", "--net_id", "network_def", "--filepath", output / "model.ts",
        "--ckpt_file", after / "model.pt", "--meta_file", BUNDLE / "configs" / "metadata.json",
        "--config_file", BUNDLE / "configs" / "inference.json",
    )  # fmt: skip
    predictions = [
        f"{name}, IoU {scores[folder.name]:.2f}={next((folder / 'test').glob('*_seg.*'))}"
        for name, folder in (("source only", before), ("fine-tuned on 15 % of the labels", after))
    ]
    run(
        "tools/make_overlay.py", phantom / stack["image"], "--truth", phantom / stack["label"],
        "--slices", 4, 12, 20, "--prediction", *predictions, "--output", output / "demo.png",
    )  # fmt: skip
    print(f"\nIoU on the unseen stack: {scores}. Look at {output / 'demo.png'}.")
    print(f"The whole demo took {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
