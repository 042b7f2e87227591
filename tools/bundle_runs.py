"""Running a bundle's commands as a user does, and keeping what they measured; shared by the tools that compare."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossem.io import atomic_output
from crossem.networks import load_torch_file

BUNDLES = Path("bundles")


def run(bundle: str, run_id: str, configs: Sequence[str], options: Mapping[str, object], output_dir: Path) -> str:
    """Run `python -m monai.bundle run`, its output in `output_dir.log`; returns the command as typed.

    A training that was stopped goes on from its checkpoint, and one that has all its epochs is not run again. Ends
    the program when the command fails.
    """
    files = str([str(BUNDLES / bundle / "configs" / name) for name in configs])
    pairs = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", files, *pairs, "--output_dir", str(output_dir)]
    if run_id != "training" or epochs_done(output_dir) < int(str(options["epochs"])):
        resume = ["--resume", "True"] if run_id == "training" and any(output_dir.glob("**/checkpoint.pt")) else []
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{output_dir}.log", "w") as log:
            if subprocess.run([sys.executable, *command, *resume], stdout=log, stderr=log).returncode:
                sys.exit(f"error: {output_dir} failed, see {output_dir}.log")
    return f"python {shlex.join(command)}"


def epochs_done(output_dir: Path) -> int:
    """The last epoch that a training in this folder has saved."""
    checkpoint = output_dir / "checkpoint.pt"
    return load_torch_file(checkpoint)["epoch"] if checkpoint.is_file() else 0


def finished(path: Path, options: Mapping[str, object]) -> dict[str, Any] | None:
    """The result of an earlier run, or None; ends the program when it is of other options."""
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    if result["options"] != {key: str(value) for key, value in options.items()}:
        sys.exit(f"error: {path} is of other options: give another --work_dir")
    return result


def write_json(content: Mapping[str, object], path: Path) -> None:
    with atomic_output(path, path.suffix) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
