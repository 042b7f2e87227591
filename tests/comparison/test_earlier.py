"""Results whose runs are gone stay in the document, as long as they are of what is asked for."""

import shutil

import pytest

from crossem.comparison import comparison_document, earlier_document, runs_to_do, write_json
from crossem.errors import InputError

FACTS = {"command": "python z", "data": {"sha256": {"a.tif": "1", "b.tif": "2"}}}


@pytest.fixture
def document(plan, leave_result, started, tmp_path):
    """The path of a document of the first two of six runs; the folder of the second one is gone."""
    spec, runs = plan
    for run, commit in zip(runs, "ab", strict=False):
        leave_result(run, started(commit))
    path = tmp_path / "tiny.json"
    write_json(comparison_document(spec, FACTS, runs), path)
    shutil.rmtree(runs[1].folder)
    return path


def test_a_result_without_a_run_is_kept(plan, document, leave_result, started):
    spec, runs = plan
    earlier = earlier_document(document, runs, FACTS["data"])
    kept = [run["method"] for run in earlier["runs"]]
    assert kept == ["source-only", "fine-tune"]
    leave_result(runs[2], started("c"))
    written = comparison_document(spec, FACTS, runs, earlier)
    assert [(run["method"], run["label_fraction"]) for run in written["runs"]] == [
        ("source-only", None), ("fine-tune", 0.25), ("fine-tune", 1.0),
    ]  # fmt: skip
    assert written["commits"] == ["a", "b", "c"] and written["commit"] == "c"
    assert written["missing"] == [run.name for run in runs[3:]] and len(written["summary"]) == 3


def test_what_is_here_comes_before_what_was_known(plan, document):
    spec, runs = plan
    earlier = earlier_document(document, runs, FACTS["data"])
    earlier["runs"][0]["scores"]["last"]["mean_iou"] = 0.125
    earlier["runs"][1]["scores"]["last"]["mean_iou"] = 0.125
    written = comparison_document(spec, FACTS, runs, earlier)
    assert [run["scores"]["last"]["mean_iou"] for run in written["runs"]] == [0.5, 0.125]


def test_without_a_run_the_document_is_as_it_was(plan, document):
    spec, runs = plan
    shutil.rmtree(runs[0].folder)
    earlier = earlier_document(document, runs, FACTS["data"])
    assert comparison_document(spec, FACTS, runs, earlier) == earlier


def test_no_document_keeps_nothing(plan, tmp_path):
    assert earlier_document(tmp_path / "tiny.json", plan[1], FACTS["data"]) is None
    assert runs_to_do(plan[1], None) == plan[1]


def test_a_kept_run_is_done_again_only_where_another_starts_from_its_weights(plan, document):
    runs = plan[1]
    shutil.rmtree(runs[0].folder)
    earlier = earlier_document(document, runs, FACTS["data"])
    source_only, few, all_labels = runs[:3]
    assert runs_to_do([source_only, few], earlier) == []
    assert runs_to_do([source_only, few, all_labels], earlier) == [source_only, all_labels]


def test_results_that_would_be_lost_are_told(plan, document):
    spec, runs = plan
    message = (
        "tiny.json holds runs that are neither .* (1, the first: fine-tune, label fraction 0.25, seed 0).*--output"
    )
    with pytest.raises(InputError, match=message.replace("(1", r"\(1").replace("0)", r"0\)")):
        earlier_document(document, [runs[0], *runs[2:]], FACTS["data"])
    held = comparison_document(spec, FACTS, runs, earlier_document(document, runs, FACTS["data"]))
    held["runs"][1]["commands"][0] += " --epochs 3"
    write_json(held, document)
    with pytest.raises(InputError, match="fine-tune, label fraction 0.25, seed 0"):
        earlier_document(document, runs, FACTS["data"])


def test_results_on_other_data_are_told(plan, document):
    data = {"sha256": {"a.tif": "1", "b.tif": "3"}}
    with pytest.raises(InputError, match=r"tiny.json holds runs on other data \(b.tif differs\), .*--output"):
        earlier_document(document, plan[1], data)
    shutil.copytree(plan[1][0].folder, plan[1][1].folder)  # all are here: nothing is taken from the document
    assert earlier_document(document, plan[1], data)


def test_another_file_of_that_name_is_told(plan, document):
    document.write_text("[]")
    with pytest.raises(InputError, match="tiny.json holds no results of a comparison; give another --output"):
        earlier_document(document, plan[1], FACTS["data"])
