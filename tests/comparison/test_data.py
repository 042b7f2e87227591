"""Data: what a document says of them, and the volumes of its pictures, from files as an evaluation leaves them."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator

from crossem.comparison import check_labels, data_facts, load_spec, plan_runs, shown_volumes
from crossem.comparison.results import record_file, request, result_file, write_json
from crossem.data import datalist_items, load_datalist, make_phantom
from crossem.errors import InputError
from crossem.io import read_volume
from crossem.report import ScoreReport
from crossem.transforms import LoadVolumed, SaveVolumed


def test_the_data_are_described_without_their_datalist(tmp_path):
    path = make_phantom(tmp_path / "phantom", size="small")
    facts = data_facts(path, "test")
    written = json.loads(path.read_text())
    assert facts["volumes"] == {"source": written["source"], "target": written["target"]}
    assert facts["classes"] == ["background", "mitochondria"] and facts["split"] == "test"
    items = [item for splits in facts["volumes"].values() for items in splits.values() for item in items]
    assert {item[key] for item in items for key in ("image", "label")} == facts["sha256"].keys()


def test_labels_that_are_not_there_are_told_before_work(tmp_path):
    path = make_phantom(tmp_path / "phantom", size="small")
    content = json.loads(path.read_text())
    for split in ("training", "test"):
        del content["target"][split][0]["label"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"no label .*\(methods are scored on the labels of target.test in .*json\)"):
        data_facts(path, "test")
    plain, semi_supervised = (SimpleNamespace(name=f"a_{f}", label_fraction=f) for f in (None, 0.15))
    check_labels(path, [plain])
    with pytest.raises(InputError, match="a_0.15 needs labels of target.training: .* have no label"):
        check_labels(path, [plain, semi_supervised])


def evaluate(items, folder, postprocessing):
    """A prediction that is the image."""
    SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(items, LoadVolumed("image"))),
        network=torch.nn.Identity(),
        postprocessing=postprocessing,
        val_handlers=[ScoreReport(folder, "model.pt", {})],
    ).run()


def test_the_picture_is_of_the_first_volume_that_was_scored(content, spec_file, tmp_path):
    """Whatever else is in the folder; of no run that is not finished."""
    datalist = make_phantom(tmp_path / "phantom", size="small")
    first, other = (datalist_items(load_datalist(datalist), "target", split)[0] for split in ("test", "training"))
    runs = plan_runs(load_spec(spec_file(content)), datalist, tmp_path / "runs")[:2]
    run, unfinished = runs[0], replace(runs[1], needs=())
    for item in (first, other):  # so that they get two names
        os.link(item["image"], tmp_path / f"{item['image'].split('/')[-2]}.ome.tif")
        item["image"] = str(tmp_path / f"{item['image'].split('/')[-2]}.ome.tif")
    evaluate([first, other], run.scores_file("last").parent, SaveVolumed("pred", tmp_path / "prediction"))
    os.utime(tmp_path / "prediction" / "training_seg.ome.tif", (0, 0))
    write_json(request(run) | {"started": []}, record_file(run))
    write_json({}, result_file(run))
    image, truth, predictions = shown_volumes(datalist, "test", {"A": run, "B": unfinished})
    assert isinstance(image, np.ndarray) and np.array_equal(truth, read_volume(first["label"])[0].numpy())
    assert list(predictions) == ["A"] and np.array_equal(predictions["A"], image)


def test_scores_name_predictions_only_where_they_are_saved(tmp_path):
    item = {"image": MetaTensor(torch.ones(1, 2, 4, 4))}
    engine = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset([item])),
        network=torch.nn.Identity(),
        val_handlers=[ScoreReport(tmp_path, "model.pt", {})],
    )
    engine.run()
    assert json.loads((tmp_path / "scores.json").read_text()).keys() == {"checkpoint", "options", "images", "scores"}
