"""Results whose runs are gone stay in the document, as long as they are of what is asked for."""

import json
import shutil

import pytest

from crossem.comparison import comparison_document, earlier_results, load_spec, plan_runs, runs_to_do, write_json
from crossem.comparison.results import result_file
from crossem.errors import InputError

DATA = {"classes": ["a"], "split": "validation", "volumes": {"target": {}}, "sha256": {"a.tif": "1", "b.tif": "2"}}
FACTS = {"command": "python z", "data": DATA}


@pytest.fixture
def document(planned, leave_result, started, tmp_path):
    """The path of a document of the first two of six runs; the folder of the second one is gone."""
    spec, runs = planned
    for run, commit in zip(runs, "ab", strict=False):
        leave_result(run, started(commit))
    path = tmp_path / "tiny.json"
    write_json(comparison_document(spec, FACTS, runs), path)
    shutil.rmtree(runs[1].folder)
    return path


def test_a_result_without_a_run_is_kept(planned, document, leave_result, started):
    spec, runs = planned
    earlier = earlier_results(document, runs, DATA)
    entry = json.loads(document.read_text())["runs"][1]
    assert earlier == {("fine-tune", 0.25, 0): entry}
    assert list(earlier["fine-tune", 0.25, 0]) == list(entry)  # an unchanged result is no change of the file
    leave_result(runs[2], started("c"))
    written = comparison_document(spec, FACTS, runs, earlier)
    assert [(run["method"], run["label_fraction"]) for run in written["runs"]] == [
        ("source-only", None), ("fine-tune", 0.25), ("fine-tune", 1.0),
    ]  # fmt: skip
    assert written["commits"] == ["a", "b", "c"] and written["commit"] == "c"
    assert written["missing"] == [run.name for run in runs[3:]] and len(written["summary"]) == 3


def test_what_is_finished_here_comes_before_what_was_known(planned, document):
    spec, runs = planned
    content = json.loads(document.read_text())
    for run in content["runs"]:
        run["scores"]["last"]["mean_iou"] = 0.125
    write_json(content, document)
    written = comparison_document(spec, FACTS, runs, earlier_results(document, runs, DATA))
    assert [run["scores"]["last"]["mean_iou"] for run in written["runs"]] == [0.5, 0.125]
    result_file(runs[0]).unlink()  # it is evaluated again: the earlier result stands as long as there is no other
    written = comparison_document(spec, FACTS, runs, earlier_results(document, runs, DATA))
    assert [run["scores"]["last"]["mean_iou"] for run in written["runs"]] == [0.125, 0.125]


def test_no_document_keeps_nothing(planned, tmp_path):
    assert earlier_results(tmp_path / "tiny.json", planned[1], DATA) == {}
    assert runs_to_do(planned[1], {}) == planned[1]


def test_a_kept_run_is_done_again_only_where_another_starts_from_its_weights(content, spec_file, tmp_path):
    content["methods"]["longer"] = content["methods"]["source-only"] | {
        "options": {"pretrained": "{source-only}/model.pt"}
    }
    content["methods"]["fine-tune"]["options"] = {"pretrained": "{longer}/model.pt"}
    runs = plan_runs(load_spec(spec_file(content)), tmp_path / "datalist.json", tmp_path / "runs")[:4]
    source_only, longer, few, all_labels = runs
    assert runs_to_do(runs, {run.key: {} for run in runs}) == []
    assert runs_to_do(runs, {run.key: {} for run in (source_only, longer, few)}) == [source_only, longer, all_labels]
    assert runs_to_do(runs, {source_only.key: {}}) == runs


def test_a_run_that_has_chosen_no_checkpoint_is_kept(planned, document):
    runs = planned[1]
    content = json.loads(document.read_text())
    content["runs"][0]["scores"]["chosen"] = None
    del content["runs"][0]["commands"][-1]
    write_json(content, document)
    shutil.rmtree(runs[0].folder)
    assert runs[0].key in earlier_results(document, runs, DATA)


def test_results_that_would_be_lost_are_told(planned, document, leave_result, started):
    runs = planned[1]
    name = r"tiny.json: it holds fine-tune, label fraction 0.25, seed 0, "
    with pytest.raises(InputError, match=name + r"which is not asked for: give another --output$"):
        earlier_results(document, [runs[0], *runs[2:]], DATA)
    asked = r"source-only, seed 0, which is not asked for: give that seed too \(--seeds\), or another --output$"
    with pytest.raises(InputError, match=asked):
        earlier_results(document, runs[3:], DATA)
    written = document.read_text()
    # its training, its evaluation, and the training of what it started from
    for run, command, option in ((1, 0, "--epochs 3"), (1, 1, "--device cpu"), (0, 0, "--epochs 3")):
        content = json.loads(written)
        content["runs"][run]["commands"][command] += f" {option}"
        write_json(content, document)
        with pytest.raises(
            InputError, match=name + r"of other options, --\w+ .* there, .* now: give another --output$"
        ):
            earlier_results(document, runs, DATA)
    leave_result(runs[1], started("b"))  # what is finished here takes its place
    assert earlier_results(document, runs, DATA) == {}


@pytest.mark.parametrize(
    ("fact", "value", "told"),
    [
        ("sha256", {"a.tif": "1", "b.tif": "3"}, "b.tif"),
        ("sha256", {"a.tif": "1"}, "b.tif"),
        ("sha256", {**DATA["sha256"], "c.tif": "3"}, "c.tif"),
        ("volumes", {"target": {"validation": []}}, "volumes"),
        ("classes", ["b"], "classes"),
        ("split", "test", "split"),
    ],
)
def test_results_on_other_data_are_told(planned, document, leave_result, started, fact, value, told):
    data = DATA | {fact: value}
    with pytest.raises(InputError, match=rf"tiny.json: its results are of other data \({told} differs\).*--output"):
        earlier_results(document, planned[1], data)
    leave_result(planned[1][1], started("b"))
    assert earlier_results(document, planned[1], data) == {}


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"data": {}, "runs": [{}]}', '{"data": null, "runs": []}', '{"data": {}, "runs": {}}']
)
def test_another_file_of_that_name_is_told(planned, document, text):
    document.write_text(text)
    with pytest.raises(InputError, match=r"^results .*tiny.json: [^\n]*$"):
        earlier_results(document, planned[1], DATA)
