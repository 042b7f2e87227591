"""What is special about the Y-Net bundle: pictures of both reconstructions, and a fine-tuning without them."""

from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crossem.data import PatchDataset
from crossem.methods import SupervisedIteration, YNetIteration

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "em_ynet_segmentation"
SHORT = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 1, "roi_size_zyx": [8, 64, 64], "z_phases": 1}


@pytest.fixture
def workflow(phantom, tmp_path):
    def make(*names, **options):
        made = ConfigWorkflow(
            config_file=[str(BUNDLE / "configs" / name) for name in names],
            meta_file=str(BUNDLE / "configs/metadata.json"),
            logging_file=False,
            workflow_type="train",
            bundle_root=str(BUNDLE),
            datalist=str(phantom),
            output_dir=str(tmp_path / "run"),
            **SHORT,
            **options,
        )
        made.initialize()
        return made

    return make


def test_both_reconstructions_are_shown(workflow, tmp_path):
    workflow("train.json").run()
    names = {"source_reconstruction", "target_reconstruction"}
    for name in names:
        picture = np.asarray(Image.open(tmp_path / "run" / "images" / f"{name}.png"))
        assert picture.shape[:2] == (64, 128)  # the patch, and its reconstruction
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert names <= set(events.Tags()["images"]) and names <= set(events.Tags()["scalars"])


def test_the_weights_of_equation_2_and_the_decoder_reach_the_method(workflow):
    made = workflow("train.json", source_reconstruction_weight=0.5, target_reconstruction_weight=2.0)
    method, optimizer = (made.parser.get_parsed_content(name) for name in ("method", "optimizer"))
    assert isinstance(method, YNetIteration) and method.weights == {"source": 0.5, "target": 2.0}
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trainer = made.parser.get_parsed_content("train#trainer")
    for module in (trainer.network, method.reconstruction):
        assert {id(p) for p in module.parameters()} <= optimised
    assert not method.reconstruction.skips


def test_finetuning_has_no_reconstruction_and_loads_the_target_once(workflow, monkeypatch):
    loaded, load = [], PatchDataset._load
    monkeypatch.setattr(PatchDataset, "_load", lambda self, item: loaded.append(item) or load(self, item))
    made = workflow("train.json", "finetune.json", label_fraction=0.25, frozen_levels=0)
    trainer = made.parser.get_parsed_content("train#trainer")
    assert isinstance(made.parser.get_parsed_content("method"), SupervisedIteration)
    (batch,) = trainer.data_loader
    assert set(batch) == {"source"} and set(batch["source"]) == {"image", "label", "weight"}
    (item,) = loaded
    assert "/target/training/" in item["image"]
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in trainer.network.parameters()}
