"""Running: order, failures, stopping and going on, with commands that take no time."""

import json
import os
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

import crossem.comparison.runner as runner
from crossem.comparison import RunEnded, Slot, check_records, execute, find_slots, locked
from crossem.comparison.plan import Run, Stage
from crossem.comparison.results import read_record, summary
from crossem.errors import InputError

SLOTS = [Slot("CPU, 1 thread", 1, {"SLOT": "0"}), Slot("CPU, 1 thread", 1, {"SLOT": "1"})]
TRAIN = """
import os, shutil, sys, json
folder, checkpoint = sys.argv[1:3]
print("slot", os.environ["SLOT"])
with open(folder + "/log.csv", "w") as file:
    file.write("epoch,seconds,loss,validation_mean_iou\\n1,2.0,0.5,0.25\\n")
for name in ("checkpoint.pt", "model.pt", "model_best.pt"):
    shutil.copy(checkpoint, folder + "/" + name)
"""
EVALUATE = """
import json, os, sys
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
json.dump({"scores": {"mean_iou": 0.5}}, open(sys.argv[1], "w"))
"""
FAIL = "import sys; sys.exit('error: no such thing')"
SLEEP = "import time, sys; open(sys.argv[1], 'w').write(str(__import__('os').getpid())); time.sleep(100)"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.02)


@pytest.fixture
def make(tmp_path):
    """Makes runs of one epoch whose training is a line of Python."""
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 1, "parts": {"best_score": {"epoch": 1}}}, checkpoint)

    def run(name, needs=(), training=None):
        folder = tmp_path / "work" / name
        training = training or ("-c", TRAIN, str(folder), str(checkpoint))
        planned = Run(name, 0, None, folder, tuple(needs), training, {}, (Stage(folder, 1),))
        evaluations = {c: ("-c", EVALUATE, str(planned.scores_file(c))) for c in ("last", "chosen")}
        return replace(planned, evaluations=evaluations)

    return run


def run_all(runs, folder):
    with locked(folder) as lock, closing(execute(runs, SLOTS, lock)) as events:
        return list(events)


def ended(events):
    return {event.run.name: event for event in events if isinstance(event, RunEnded)}


def test_runs_are_made_in_order_and_not_repeated(make, tmp_path):
    first = make("first")
    runs = [first, make("second", [first]), make("other")]
    events = run_all(runs, tmp_path / "work")
    names = list(ended(events))
    assert names.index("first") < names.index("second") and set(names) == {"first", "second", "other"}
    result = json.loads((first.folder / "result.json").read_text())
    assert result["scores"] == {"last": {"mean_iou": 0.5}, "chosen": {"mean_iou": 0.5}} and result["chosen_epoch"] == 1
    assert len(result["commands"]) == 3
    times = [(run.folder / "result.json").stat().st_mtime_ns for run in runs]
    assert ended(run_all(runs, tmp_path / "work")) == {}
    assert [(run.folder / "result.json").stat().st_mtime_ns for run in runs] == times


def test_weights_of_another_run_are_scored_without_a_training(make, tmp_path):
    trained = make("trained")
    scored = replace(make("scored", [trained]), training=None, stages=())
    found = ended(run_all([trained, scored], tmp_path / "work"))
    result = found["scored"].result
    assert result["scores"] == found["trained"].result["scores"] and result["chosen_epoch"] == 1
    assert len(result["commands"]) == 2 and result["curves"] == {} and result["seconds"] == 0
    assert not (scored.folder / "model.pt").exists()
    assert summary([result])[0]["source"] is None
    assert ended(run_all([trained, scored], tmp_path / "work")) == {}
    (trained.folder / "model.pt").write_text("trained again")
    check_records([scored])  # there is nothing to be lost
    assert list(ended(run_all([trained, scored], tmp_path / "work"))) == ["scored"]


def test_epochs_are_counted_to_the_end(make, tmp_path):
    runs = [make("a"), make("b", training=("-c", FAIL)), make("c")]
    progress = [event.epochs for event in run_all(runs, tmp_path / "work") if not isinstance(event, RunEnded)]
    assert progress == sorted(progress) and progress[0] == 0 and progress[-1] >= 2
    again = [event.epochs for event in run_all(runs, tmp_path / "work") if not isinstance(event, RunEnded)]
    assert again[0] == 2


def test_a_failure_leaves_out_what_needs_it_and_nothing_else(make, tmp_path):
    bad = make("bad", training=("-c", FAIL))
    needs = make("needs", [bad])
    runs = [bad, needs, make("good"), make("last", [needs])]
    found = ended(run_all(runs, tmp_path / "work"))
    assert found["bad"].reason == f"failed: no such thing; see {bad.folder}/run.log" and found["bad"].result is None
    assert found["needs"].reason == "left out, as it needs bad"
    assert found["last"].reason == "left out, as it needs needs"
    assert found["good"].result["method"] == "good"
    assert not (bad.folder / "result.json").exists()


def test_an_error_of_one_run_is_not_one_of_the_others(make, tmp_path):
    """A folder that cannot be made, scores that are not there, weights of no checkpoint."""
    runs = [make("file"), make("scores"), make("broken"), make("good")]
    (tmp_path / "work").mkdir()
    runs[0].folder.write_text("")
    evaluations = {"last": ("-c", EVALUATE.replace('"scores"', '"points"'), str(runs[1].scores_file("last")))}
    runs[1] = replace(runs[1], evaluations=evaluations)
    runs[2].folder.mkdir()
    (runs[2].folder / "checkpoint.pt").write_text("")
    found = ended(run_all(runs, tmp_path / "work"))
    assert [found[run.name].result is None for run in runs] == [True, True, True, False]
    assert str(runs[0].folder) in found["file"].reason and found["scores"].reason == "failed: KeyError: 'scores'"
    assert "checkpoint.pt" in found["broken"].reason
    assert not any("\n" in event.reason for event in found.values())


def test_a_signal_is_named(make, tmp_path):
    run = make("a", training=("-c", "import os; print('epoch 1', flush=True); os.kill(os.getpid(), 9)"))
    (event,) = ended(run_all([run], tmp_path / "work")).values()
    assert event.reason == f"failed: killed by signal 9 (out of memory?); see {run.folder}/run.log"


def test_commit_and_versions_are_those_of_the_start(make, tmp_path, monkeypatch):
    """Of each command; not those of a training that left nothing, nor of evaluations that are made again."""
    commits = iter("abcdefgh")
    monkeypatch.setattr(runner, "git_commit", lambda: next(commits))
    run = make("a")
    run_all([replace(run, training=("-c", FAIL))], tmp_path / "work")
    broken = replace(run, evaluations=run.evaluations | {"chosen": ("-c", FAIL)})
    run_all([broken], tmp_path / "work")
    assert [start["commit"] for start in read_record(run)["started"]] == ["b", "c", "d"]
    (event,) = ended(run_all([run], tmp_path / "work")).values()
    starts = read_record(run)["started"]
    assert [start["commit"] for start in starts] == ["b", "e", "f"] and event.result["commit"] == "b, e, f"
    assert [start["command"] for start in starts] == event.result["commands"]
    assert starts[0]["versions"]["torch"] == torch.__version__ and starts[0]["device"] == event.result["device"]


def test_other_evaluations_are_made_without_training_again(make, tmp_path):
    first, needs = make("first"), make("needs", [make("first")])
    run_all([first, needs], tmp_path / "work")
    times = [(run.folder / "checkpoint.pt").stat().st_mtime_ns for run in (first, needs)]
    code = EVALUATE.replace("0.5", "0.75")
    evaluations = {"last": ("-c", code, str(first.scores_file("last")))}
    changed = replace(first, evaluations=evaluations)
    needs = replace(needs, needs=(changed,))
    check_records([changed, needs])
    found = ended(run_all([changed, needs], tmp_path / "work"))
    assert list(found) == ["first"] and found["first"].result["scores"]["last"] == {"mean_iou": 0.75}
    assert times == [(run.folder / "checkpoint.pt").stat().st_mtime_ns for run in (first, needs)]


def test_what_started_from_other_weights_is_refused(make, tmp_path):
    first = make("first")
    needs = make("needs", [first])
    run_all([first, needs], tmp_path / "work")
    check_records([first, needs])
    (first.folder / "model.pt").write_text("trained again")
    with pytest.raises(
        InputError, match=f"{needs.folder} started from weights .*{first.folder}.*: remove {needs.folder}"
    ):
        check_records([first, needs])


def test_a_trained_run_is_only_evaluated(make, tmp_path):
    run = make("a", training=("-c", TRAIN.replace("print", "open(folder + '/trained', 'a').write('x'); print")))
    run = replace(run, training=(*run.training, str(run.folder), str(tmp_path / "checkpoint.pt")))
    broken = {**run.evaluations, "chosen": ("-c", FAIL)}
    assert ended(run_all([replace(run, evaluations=broken)], tmp_path / "work"))["a"].result is None
    assert ended(run_all([run], tmp_path / "work"))["a"].result is not None
    assert (run.folder / "trained").read_text() == "x"


def test_a_checkpoint_is_resumed(make, tmp_path):
    """One of the translation too, before there is one of the segmentation."""
    code = "import sys; print('arguments', sys.argv[1:]); sys.exit(1)"
    for stage in ("begun", "begun/translate"):
        run = make(stage.replace("/", "_"), training=("-c", code))
        stages = (Stage(run.folder / "translate", 3), Stage(run.folder, 3))
        run = replace(run, stages=stages)
        folder = stages["translate" not in stage].folder
        folder.mkdir(parents=True)
        torch.save({"epoch": 2}, folder / "checkpoint.pt")
        run_all([run], tmp_path / "work")
        assert "arguments ['--resume', 'True']" in (run.folder / "run.log").read_text()


def test_closing_stops_the_processes(make, tmp_path):
    run = make("a", training=("-c", SLEEP, str(tmp_path / "pid")))
    with locked(tmp_path / "work") as lock, closing(execute([run], SLOTS, lock)) as events:
        until(lambda: next(events) and (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_folder_is_held_by_one_comparison_and_what_it_left_running(make, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_SECONDS_TO_END", 0.1)
    with locked(tmp_path / "work") as lock:
        with pytest.raises(InputError, match="is in use by another comparison"), locked(tmp_path / "work"):
            pass
        process = runner.subprocess.Popen(["sleep", "100"], pass_fds=(lock,))
    try:
        with pytest.raises(InputError, match="is in use"), locked(tmp_path / "work"):
            pass
    finally:
        process.kill()
        process.wait()
    with locked(tmp_path / "work"):
        pass


def test_other_options_are_refused_with_what_differs(make, tmp_path):
    run = make("a", training=("-c", FAIL, "--epochs", "3", "--seed", "0"))
    run_all([run], tmp_path / "work")
    check_records([run])
    other = replace(run, training=("-c", FAIL, "--epochs", "4", "--seed", "0"))
    with pytest.raises(
        InputError, match=f"{run.folder} is of other options, --epochs 3 there, 4 now: remove {run.folder}"
    ):
        check_records([other])


def test_gpus_are_shared_out_round_robin(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def devices(jobs):
        return [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in find_slots(jobs)]

    assert devices(None) == ["0", "1"] and devices(1) == ["0"] and devices(3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert devices(3) == ["5", "7", "5"]
    assert [slot.device for slot in find_slots(3)] == ["GPU 0", "GPU 1", "GPU 0"]


def test_no_jobs_are_one_line():
    with pytest.raises(InputError, match="jobs is 0: give 1 or more"):
        find_slots(0)


@pytest.mark.parametrize("threads", ["many", "0", "-2", "1,2"])
def test_a_wrong_number_of_threads_is_one_line(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with pytest.raises(InputError, match=f"OMP_NUM_THREADS is '{threads}': give a number of threads from 1"):
        find_slots()


def test_the_threads_of_a_cpu_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    slots = find_slots(4)
    assert [slot.environment["OMP_NUM_THREADS"] for slot in slots] == ["2"] * 4 and slots[3].device == "CPU, 2 threads"
    assert [slot.threads for slot in find_slots()] == [8]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert {(slot.threads, slot.device) for slot in find_slots(4)} == {(1, "CPU, 1 thread")}


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
