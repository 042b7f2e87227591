"""Compare crossem's sliding window with MONAI's as zoo bundles set it: speed and peak memory.

Both run the same untrained network over the same random volume, each in a process of its own:

    python tools/benchmark_inference.py --output docs/results/inference_speed.json
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.inferers import sliding_window_inference

from crossem.inference import SlidingWindowInferer
from crossem.networks import AnisotropicUNet, native_dtype, plan_unet, prepare_network

VOXEL_SIZE_ZYX_NM = (48.0, 8.0, 8.0)
ROI_SIZE_ZYX = (16, 128, 128)
SETTINGS = {
    "crossem": {"roi_size_zyx": [8, 224, 224], "overlap": 0.25, "sw_batch_size": 1},
    "monai_stock": {"roi_size": [16, 128, 128], "overlap": 0.5, "sw_batch_size": 4, "mode": "gaussian"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--shape", type=int, nargs=3, default=[20, 1024, 1024], metavar=("Z", "Y", "X"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--run", choices=SETTINGS, help=argparse.SUPPRESS)  # one measurement, in a subprocess
    args = parser.parse_args()
    if args.run:
        args.output.write_text(json.dumps(measure(args.run, args.shape, args.device)))
        return
    results = {name: measure_apart(name, args) for name in SETTINGS}
    for name, result in results.items():
        print(f"{name:12} {result['mvoxel_per_s']:8.2f} Mvoxel/s  peak RSS {result['peak_rss_mb']:7.0f} MB")
    report = {
        "shape_zyx": args.shape,
        "device": args.device,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "results": results,
        "speedup": results["crossem"]["mvoxel_per_s"] / results["monai_stock"]["mvoxel_per_s"],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n")


def measure_apart(name: str, args: argparse.Namespace) -> dict[str, object]:
    """Measure in a fresh process, whose peak memory is its own."""
    part = args.output.with_name(f".{args.output.name}.{name}")
    part.parent.mkdir(parents=True, exist_ok=True)
    shape = [str(n) for n in args.shape]
    options = ["--run", name, "--output", str(part), "--device", args.device, "--shape", *shape]
    try:
        subprocess.run([sys.executable, __file__, *options], check=True)
        return json.loads(part.read_text())
    finally:
        part.unlink(missing_ok=True)


def measure(name: str, shape_zyx: list[int], device: str) -> dict[str, object]:
    """Seconds, Mvoxel/s and peak memory of one run, after a warm-up on a small volume."""
    torch.manual_seed(0)
    plan = plan_unet(VOXEL_SIZE_ZYX_NM, ROI_SIZE_ZYX)
    network = AnisotropicUNet(in_channels=1, out_channels=2, plan=plan).eval().to(device)
    if name == "crossem":
        network = prepare_network(network, torch.device(device))  # channels last, as the bundles do
    infer = crossem_inference if name == "crossem" else stock_inference
    infer(torch.rand(1, 1, *ROI_SIZE_ZYX), network, device)
    volume = torch.rand(1, 1, *shape_zyx)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    probabilities = infer(volume, network, device)
    seconds = time.perf_counter() - start
    if not torch.isfinite(probabilities).all():
        raise RuntimeError(f"{name} gave probabilities that are not finite")
    return {
        "settings": SETTINGS[name],
        "dtype": str(native_dtype(device) if name == "crossem" else torch.float32),
        "seconds": seconds,
        "mvoxel_per_s": volume.numel() / 1e6 / seconds,
        "rss_before_mb": before,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def crossem_inference(volume: torch.Tensor, network: AnisotropicUNet, device: str) -> torch.Tensor:
    plan = plan_unet(VOXEL_SIZE_ZYX_NM, ROI_SIZE_ZYX)
    return SlidingWindowInferer(divisor_zyx=plan.divisor_zyx, **SETTINGS["crossem"])(volume, network)


def stock_inference(volume: torch.Tensor, network: Callable, device: str) -> torch.Tensor:
    with torch.no_grad():
        logits = sliding_window_inference(volume.to(device), predictor=network, **SETTINGS["monai_stock"])
        return torch.softmax(logits, dim=1).cpu()


if __name__ == "__main__":
    main()
