"""What the tests of comparisons share: a spec, as the text of a file, and runs of it, as their commands leave them."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from crossem.comparison import load_spec, plan_runs, write_json
from crossem.comparison.plan import typed
from crossem.comparison.results import record_file, request, result_file, run_result

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def content():
    """A spec of two methods, the second of which starts from the first; tests change it."""
    return {
        "name": "tiny",
        "title": "Tiny",
        "datalist": "datalist.json",
        "seeds": [0, 1],
        "options": {"epochs": 2, "roi_size_zyx": [8, 64, 64]},
        "methods": {
            "fine-tune": {
                "title": "Fine-tuning",
                "bundle": "em_unet_finetune_segmentation",
                "overlays": ["finetune.json"],
                "options": {"pretrained": "{source-only}/model.pt"},
                "label_fractions": [0.25, 1.0],
                "unsupervised": False,
                "chosen": False,
            },
            "source-only": {"title": "Source only", "bundle": "em_unet_finetune_segmentation"},
        },
    }


@pytest.fixture
def spec_file(tmp_path, monkeypatch):
    """Writes a spec and gives its path; the working directory is the repository's root, where the bundles are."""
    monkeypatch.chdir(ROOT)

    def write(content):
        path = tmp_path / "spec.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def planned(content, spec_file, tmp_path):
    """The spec and its runs."""
    spec = load_spec(spec_file(content))
    return spec, plan_runs(spec, tmp_path / "datalist.json", tmp_path / "runs")


def _leave_training(run, epochs=2):
    run.folder.mkdir(parents=True)
    rows = [
        {"epoch": e, "seconds": 1.5 * e, "loss": 1 / e, "validation_mean_iou": "" if e == 1 else 0.25}
        for e in range(1, epochs + 1)
    ]
    with (run.folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (run.folder / "model.pt").write_text(f"weights of {run.name}")
    torch.save({"epoch": epochs, "parts": {"best_score": {"score": 0.25, "epoch": 2}}}, run.folder / "checkpoint.pt")
    for checkpoint, iou in (("last", 0.5), ("chosen", 0.75)):
        if checkpoint in run.evaluations:
            scores = {"mean_iou": iou, "precision_mitochondria": float("nan")}
            run.scores_file(checkpoint).parent.mkdir()
            run.scores_file(checkpoint).write_text(json.dumps({"scores": scores}))


@pytest.fixture
def leave_training():
    """Leaves in a run's folder what its commands do."""
    return _leave_training


@pytest.fixture
def leave_result():
    """Leaves a finished run."""

    def leave(run, *starts):
        _leave_training(run)
        write_json(request(run) | {"started": starts}, record_file(run))
        commands = [typed(command) for command in run.commands()]
        write_json(run_result(run, commands, starts), result_file(run))

    return leave


@pytest.fixture
def started():
    """How a command was started."""

    def start(commit, device="CPU, 1 thread"):
        machine = {"device": device, "cpu": "A", "threads": 1}
        return {"command": "python x", "commit": commit, **machine, "versions": {"torch": commit}}

    return start
