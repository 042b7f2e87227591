"""What the bundle tests share: a small phantom, and the command a user types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossem.data import make_phantom

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """The datalist of a small phantom."""
    return make_phantom(tmp_path_factory.mktemp("phantom") / "phantom", size="small")


class WarmPython:
    """Runs `python -m monai.bundle` in processes that need not import anything (see `warm_python.py`)."""

    def __init__(self, folder):
        self.folder, self.commands = folder, 0
        program = [sys.executable, str(Path(__file__).with_name("warm_python.py"))]
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def run(self, arguments, cwd):
        self.commands += 1
        files = [self.folder / f"{self.commands}.{name}" for name in ("stdout", "stderr")]
        request = {"arguments": arguments, "cwd": str(cwd), "seconds": SECONDS}
        request |= {file.suffix[1:]: str(file) for file in files}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(file.read_text() for file in files))

    def close(self):
        self.process.stdin.close()
        self.process.wait(SECONDS)


@pytest.fixture(scope="session")
def monai_bundle(tmp_path_factory):
    """Runs `python -m monai.bundle ...` from the repository's root, or from `cwd`; returns the finished process.

    `plain` starts a python as a user does, and so does a `launcher`; else a warm one saves the seconds of imports.
    """
    warm = WarmPython(tmp_path_factory.mktemp("commands"))

    def run(*arguments, cwd=ROOT, check=True, plain=False, launcher=()):
        arguments = [str(argument) for argument in arguments]
        if plain or launcher:
            command = [sys.executable, *launcher, "-m", "monai.bundle", *arguments]
            process = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS)
        else:
            process = warm.run(arguments, cwd)
        assert not check or process.returncode == 0, process.stderr[-3000:]
        return process

    yield run
    warm.close()
