"""Results: means over seeds against numpy, and what a run leaves behind read into one."""

import datetime
import hashlib
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch

from crossem.comparison import comparison_document
from crossem.comparison.provenance import data_checksums, git_commit, versions
from crossem.comparison.results import (
    is_finished,
    read_record,
    record_file,
    request,
    result_file,
    run_result,
    summary,
    write_json,
)


def result(method="a", fraction=None, seed=0, chosen=True, **scores):
    known = {"mean_iou": 0.5, **scores}
    both = {"last": known, "chosen": {name: value / 2 for name, value in known.items()} if chosen else None}
    curves = {"validation_mean_iou": [None, 0.9, known["mean_iou"] / 4]}
    return {"method": method, "label_fraction": fraction, "seed": seed, "scores": both, "curves": curves}


def test_means_over_seeds_are_those_of_numpy():
    values = np.random.default_rng(0).random((3, 2))
    results = [result(seed=s, mean_iou=row[0], recall=row[1]) for s, row in enumerate(values.tolist())]
    results += [result(fraction=0.5, mean_iou=0.25), result(method="b", chosen=False)]
    a, half, b = summary(results)
    assert (a["method"], a["label_fraction"], a["seeds"]) == ("a", None, [0, 1, 2])
    assert list(a["source"]) == ["mean_iou"]
    for which, factor in (("last", 1), ("chosen", 0.5), ("source", 0.25)):
        for column, name in enumerate(a[which]):
            expected = factor * values[:, column]
            assert a[which][name]["mean"] == pytest.approx(expected.mean())
            assert a[which][name]["std"] == pytest.approx(expected.std(ddof=1))
    assert half["last"]["mean_iou"] == {"mean": 0.25, "std": None}
    assert b["chosen"] is None and b["source"] is None and b["seeds"] == [0]


def test_an_undefined_score_of_one_seed_leaves_no_mean():
    one, other = result(seed=0, chosen=False, precision=0.9), result(seed=1, chosen=False, precision=None)
    (entry,) = summary([one, other])
    assert entry["last"]["precision"] == {"mean": None, "std": None}
    assert entry["last"]["mean_iou"] == {"mean": 0.5, "std": 0.0}


def test_the_result_of_a_run(planned, leave_training, started):
    run = planned[1][0]
    leave_training(run)
    found = run_result(run, ["python x"], [started("a"), started("b"), started("a", "GPU"), started(None)])
    assert found["scores"] == {
        "last": {"mean_iou": 0.5, "precision_mitochondria": None},
        "chosen": {"mean_iou": 0.75, "precision_mitochondria": None},
    }
    assert found["curves"] == {"epoch": [1, 2], "loss": [1.0, 0.5], "validation_mean_iou": [None, 0.25]}
    assert (found["chosen_epoch"], found["seconds"], found["seed"]) == (2, 3.0, 0)
    assert (found["method"], found["label_fraction"]) == ("source-only", None)
    assert found["commands"] == ["python x"] and found["device"] == "CPU, 1 thread, GPU"
    assert found["commit"] == "a, b"


def test_the_result_of_a_run_that_chooses_no_checkpoint(planned, leave_training, started):
    run = planned[1][1]
    leave_training(run)
    found = run_result(run, [], [])
    assert (
        found["commit"] is None
        and found["scores"]["chosen"] is None
        and found["chosen_epoch"] is None
        and found["label_fraction"] == 0.25
    )


def test_a_run_is_finished_while_all_that_it_asked_for_is_the_same(planned, leave_result, started):
    source_only, fine_tune = planned[1][:2]
    assert not is_finished(source_only)
    for run in (source_only, fine_tune):
        leave_result(run, started("a"))
        assert is_finished(run)
    for key in ("trainings", "evaluations"):
        record = read_record(fine_tune)
        write_json(record | {key: ["python y"]}, record_file(fine_tune))
        assert not is_finished(fine_tune)
        write_json(record, record_file(fine_tune))
    (source_only.folder / "model.pt").write_text("trained again")
    assert is_finished(source_only) and not is_finished(fine_tune)
    (source_only.folder / "model.pt").unlink()
    assert not is_finished(fine_tune)


def test_the_document_holds_the_finished_runs_of_the_same_commands(planned, leave_result, started):
    spec, runs = planned
    facts = {"command": "python z", "data": None}
    empty = comparison_document(spec, facts, runs)
    assert empty["runs"] == empty["commits"] == [] and empty["finished"] is empty["commit"] is empty["machine"] is None
    for number, run in enumerate(runs[:3]):
        leave_result(run, started(f"{number}a"), started(f"{number}b"))
        os.utime(result_file(run), (1e9 - number, 1e9 - number))
    write_json(request(runs[2]) | {"trainings": ["another"], "started": []}, record_file(runs[2]))
    document = comparison_document(spec, facts, runs)
    # of the run that was finished last, as it was started
    assert (document["commit"], document["finished"]) == ("0b", datetime.date.fromtimestamp(1e9).isoformat())
    assert document["machine"] == {"device": "CPU, 1 thread", "cpu": "A", "threads": 1}
    assert document["versions"] == {"torch": "0b"} and document["commits"] == ["0a", "0b", "1a", "1b"]
    assert document["missing"] == [run.name for run in runs[2:]]
    known = [(entry["method"], entry["label_fraction"]) for entry in document["runs"]]
    assert known == [("source-only", None), ("fine-tune", 0.25)]
    assert [entry["seeds"] for entry in document["summary"]] == [[0], [0]]
    assert document["methods"] == {
        "source-only": {"title": "Source only", "epochs": 2},
        "fine-tune": {"title": "Fine-tuning", "epochs": 2 + 2},  # after those of source-only
    }
    assert document["protocol"]["metric"] == "mean_iou" and document["published"] == []
    assert set(document) == {
        *facts, "name", "title", "commit", "commits", "machine", "versions", "finished", "protocol", "spec",
        "published", "methods", "summary", "missing", "runs",
    }  # fmt: skip
    json.dumps(document, allow_nan=False)


def test_checksums_are_those_of_sha256sum(tmp_path):
    """A file's, and a folder's from the lines that the program prints."""
    (tmp_path / "slices").mkdir()
    files = [tmp_path / "a.tif", *(tmp_path / "slices" / f"{n}.png" for n in (1, 2, 10))]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100)
    datalist = {"source": {"training": [{"image": str(files[0]), "label": str(tmp_path / "slices")}]}}
    found = data_checksums(datalist, tmp_path)
    assert found["a.tif"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert list(found) == ["a.tif", "slices/"]
    if shutil.which("sha256sum"):
        lines = subprocess.run(
            ["sha256sum", "1.png", "2.png", "10.png"], cwd=tmp_path / "slices", capture_output=True, check=True
        ).stdout
        assert found["slices/"] == hashlib.sha256(lines).hexdigest()


def test_a_commit_is_dirty_with_a_changed_file_outside_the_results(tmp_path, monkeypatch):
    def git(*arguments):
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    git("init", "-q")
    for name in ("code.py", "docs/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").stdout.strip()
    (tmp_path / "docs/results/a.json").write_text("2")
    (tmp_path / "untracked").write_text("2")
    assert git_commit() == commit
    (tmp_path / "code.py").write_text("2")
    monkeypatch.chdir(tmp_path / "docs")
    assert git_commit() == f"{commit}-dirty"


def test_versions_are_those_imported():
    assert versions()["torch"] == torch.__version__ and versions()["numpy"] == np.__version__
    assert {"connected-components-3d", "edt"} <= versions().keys()
