"""The program as a user runs it, stopped in the middle, twice, and started again."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from crossem.data import make_phantom

ROOT = Path(__file__).resolve().parents[2]
# as many as take several seconds: a training is still going on when its first checkpoint has been seen
EPOCHS = {"source-only_seed0": 30, "fine-tune_0.5_seed0": 30}


@pytest.fixture
def command(tmp_path):
    """Compares two methods of the shipped spec, the one that needs the other first, in fewer steps."""
    content = yaml.safe_load((ROOT / "tools" / "specs" / "phantom.yaml").read_text())
    content["datalist"] = str(make_phantom(tmp_path / "phantom", size="small"))
    content["options"] |= {"epochs": 30, "steps_per_epoch": 1, "batch_size": 1, "z_phases": 1, "val_interval": 15}
    content["methods"] = {name: content["methods"][name] for name in ("fine-tune", "source-only")}
    del content["methods"]["fine-tune"]["options"]["epochs"]
    content["methods"]["fine-tune"]["label_fractions"] = [0.5]
    content["published"] = [{"name": "Others", "score": 0.5, "source": "A paper"}]
    (tmp_path / "phantom.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    folders = ("--work_dir", tmp_path / "runs", "--output", tmp_path / "report")
    return [sys.executable, "tools/compare_methods.py", *map(str, (tmp_path / "phantom.yaml", *folders))]


def start(command):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for(path, process):
    end = time.monotonic() + 300
    while not path.is_file():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def in_group(group):
    """Processes that are left of a group, zombies aside."""
    stats = [text.rpartition(")")[2].split() for text in map(read, Path("/proc").glob("[0-9]*/stat")) if text]
    return [fields for fields in stats if int(fields[2]) == group and fields[0] != "Z"]


def read(path):
    try:
        return path.read_text()
    except OSError:  # it has ended in between
        return ""


def test_a_comparison_is_stopped_and_goes_on(command, tmp_path):
    folders = {name: tmp_path / "runs" / name for name in EPOCHS}
    source_only, fine_tune = folders.values()
    terminated = start(command)
    wait_for(source_only / "checkpoint.pt", terminated)
    terminated.terminate()
    err = terminated.communicate(timeout=60)[1]
    assert terminated.returncode == 128 + signal.SIGTERM and not in_group(terminated.pid)
    assert err.endswith("stopped; the same command goes on\n")
    assert not (source_only / "result.json").exists()

    check_dry_run(command, tmp_path)
    killed = start(command)
    wait_for(fine_tune / "checkpoint.pt", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = (source_only / "result.json").stat().st_mtime_ns
    partial = json.loads((tmp_path / "report" / "phantom.json").read_text())
    assert [run["method"] for run in partial["runs"]] == ["source-only"] and partial["missing"] == [fine_tune.name]

    last = start(command)
    out, err = last.communicate(timeout=500)
    assert last.returncode == 0, err
    assert (source_only / "result.json").stat().st_mtime_ns == finished and "source-only" not in out
    assert re.search(r"^fine-tune_0.5_seed0: IoU last 0.\d+, \d+ s; 100% done, about 00:00 left$", out, re.MULTILINE)

    for name, folder in folders.items():
        log = (folder / "run.log").read_text()
        assert "resumed from" in log and log.count("--resume True") == 1
        rows = list(csv.DictReader((folder / "log.csv").open()))
        assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS[name] + 1))
    check_document(json.loads((tmp_path / "report" / "phantom.json").read_text()))
    for suffix in ("md", "html"):
        text = (tmp_path / "report" / f"phantom.{suffix}").read_text()
        assert "Fine-tuning" in text and "Source only" in text and "Others" in text
    assert [len(list((folder / "prediction").iterdir())) for folder in folders.values()] == [1, 1]
    check_report_without_runs(command, tmp_path)


def check_dry_run(command, tmp_path):
    """It tells what is trained, and its commands are those of the runs; nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dry = start([*command, "--dry_run"])
    out, err = dry.communicate(timeout=60)
    lines = out.splitlines()
    assert dry.returncode == 0, err
    assert re.match(r"source-only_seed0: \d+ of 30 epochs trained; to do:$", lines[0]) and len(lines) == 7
    typed = (tmp_path / "runs" / "source-only_seed0" / "run.log").read_text().partition("\n")[0].removeprefix("$ ")
    assert lines[1] == f"  {typed} --resume True" and lines[4] == "fine-tune_0.5_seed0: 0 of 30 epochs trained; to do:"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def check_report_without_runs(command, tmp_path):
    """Where only the report is left, nothing is trained, and it stays what it was."""
    path = tmp_path / "report" / "phantom.json"
    before = path.read_bytes()
    shutil.rmtree(tmp_path / "runs")
    again = start(command)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0 and out.startswith("2 results are those in") and "nothing to do" in out, err
    assert path.read_bytes() == before and not list((tmp_path / "runs").glob("*_seed0"))
    dry = start([*command, "--dry_run"]).communicate(timeout=60)[0].splitlines()
    assert dry == [f"{name}: its result is in {path}" for name in EPOCHS]


def check_document(document):
    assert re.fullmatch(r"python tools/compare_methods\.py \S+/phantom\.yaml", document["command"])
    assert document["missing"] == []
    assert document["data"]["split"] == "test" and len(document["data"]["sha256"]) == 10
    assert document["machine"]["device"] == "CPU, 1 thread" and document["machine"]["threads"] == 1
    assert document["published"] == [{"name": "Others", "score": 0.5, "metric": "mean_iou", "source": "A paper"}]
    source_only, fine_tune = document["runs"]
    assert (fine_tune["label_fraction"], source_only["label_fraction"]) == (0.5, None)
    for run in document["runs"]:
        assert {"mean_iou", "dice_mitochondria", "recall_mitochondria"} <= run["scores"]["last"].keys()
        assert run["curves"]["epoch"] == list(range(1, EPOCHS[f"{name_of(run)}_seed0"] + 1))
        assert all(loss > 0 for loss in run["curves"]["loss"]) and run["seconds"] > 0
    assert source_only["chosen_epoch"] in (15, 30) and fine_tune["chosen_epoch"] is None
    validated = [
        epoch for epoch, value in enumerate(source_only["curves"]["validation_mean_iou"], 1) if value is not None
    ]
    assert validated == [15, 30]
    assert [entry["method"] for entry in document["summary"]] == ["source-only", "fine-tune"]
    for entry, run in zip(document["summary"], document["runs"], strict=True):
        assert entry["last"]["mean_iou"] == {"mean": run["scores"]["last"]["mean_iou"], "std": None}


def name_of(run):
    return run["method"] if run["label_fraction"] is None else f"{run['method']}_{run['label_fraction']:g}"


def refused(spec, tmp_path):
    """The one line that the program has for a spec, of which it leaves nothing."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(spec))
    folders = ("--work_dir", str(tmp_path / "runs"), "--output", str(tmp_path / "report"))
    process = start([sys.executable, "tools/compare_methods.py", str(tmp_path / "tiny.yaml"), *folders])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    (line,) = err.splitlines()
    return line


def test_a_wrong_spec_is_one_line_and_leaves_nothing(content, tmp_path):
    assert refused({"name": "tiny"}, tmp_path) == f"error: spec {tmp_path}/tiny.yaml: key 'title' is missing; add it"
    content["methods"]["fine-tune"]["bundle"] = "em_unet"
    assert refused(content, tmp_path).startswith("error: method fine-tune: there is no bundle 'em_unet' in ")
