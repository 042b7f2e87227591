"""What the bundle tests share: a small phantom, and the command a user types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossem.data import make_phantom

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """The datalist of a small phantom."""
    return make_phantom(tmp_path_factory.mktemp("phantom") / "phantom", size="small")


@pytest.fixture(scope="session")
def monai_bundle():
    """Runs `python -m monai.bundle ...` from the repository's root, or from `cwd`; returns the process."""

    def run(*arguments, cwd=ROOT, check=True, launcher=()):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *launcher, "-m", "monai.bundle", *map(str, arguments)]
        process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        assert not check or process.returncode == 0, process.stderr[-3000:]
        return process

    return run
