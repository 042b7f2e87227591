"""The two stages of em_cyclegan_segmentation, each alone, resumed, and in one run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crossem.io import read_volume, voxel_size_zyx_nm

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "em_cyclegan_segmentation" / "configs"
SMALL = tuple(
    "--steps_per_epoch 2 --batch_size 1 --roi_size_zyx [8,64,64] --z_phases 1 --val_interval 1 --epochs 1 "
    "--translate_steps_per_epoch 2 --translate_roi_size_zyx [1,32,32] "
    "--generator_channels 8 --residual_blocks 1".split()
)


@pytest.fixture(scope="module")
def train(monai_bundle, phantom):
    """Trains with a config, or with some; returns the process."""

    def run(files, output_dir, *options, **how):
        files = str([str(CONFIGS / name) for name in files])
        where = ("--datalist", phantom, "--output_dir", output_dir)
        return monai_bundle("run", "training", "--config_file", files, *where, *SMALL, *options, **how)

    return run


@pytest.fixture(scope="module")
def both(train, tmp_path_factory):
    """Both stages in one run."""
    output = tmp_path_factory.mktemp("both") / "run"
    train(["train.json"], output, "--translate_epochs", 2)
    return output


def equal(folder, other, *names):
    states = [torch.load(f.joinpath(*names), weights_only=True) for f in (folder, other)]
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], v) for k, v in states[1].items())


def test_one_run_trains_both_stages(both):
    stage_1, stage_2 = (list(csv.DictReader((both / name / "log.csv").open())) for name in ("translate", "."))
    assert len(stage_1) == 2 and {"cycle_source", "structure", "discriminator_accuracy"} <= stage_1[0].keys()
    assert len(stage_2) == 1 and "segmentation" in stage_2[0]
    assert (both / "translate" / "images" / "source_to_target.png").is_file()


def test_stages_run_and_resumed_alone_end_as_one_run(both, train, tmp_path):
    """Stage 1 in two halves, killed before stage 2; then stage 2."""
    train(["train.json", "translate.json"], tmp_path / "run", "--translate_epochs", 1)
    train(["train.json", "translate.json"], tmp_path / "run", "--translate_epochs", 2, "--resume", "True")
    assert not (tmp_path / "run" / "model.pt").exists()
    train(["train.json"], tmp_path / "run", "--translate_epochs", 2, "--resume", "True")
    assert equal(both, tmp_path / "run", "translate", "model.pt") and equal(both, tmp_path / "run", "model.pt")


def test_a_translator_replaces_stage_1(both, train, tmp_path):
    train(["train.json"], tmp_path / "run", "--translator", both / "translate" / "model.pt")
    assert equal(both, tmp_path / "run", "model.pt") and not (tmp_path / "run" / "translate").exists()


def test_translated_volumes_are_written_on_the_working_grid(both, train, phantom, tmp_path):
    train(["train.json", "translate.json"], tmp_path / "run", "--translator", both / "translate" / "model.pt")
    folder = tmp_path / "run" / "translate" / "volumes"
    source, translated = (read_volume(folder / f"image_{kind}.nii") for kind in ("source", "translated"))
    item = json.loads(phantom.read_text())["source"]["training"][0]
    extent = np.multiply(read_volume(phantom.parent / item["image"]).shape[1:], item["voxel_size_zyx_nm"])
    for volume in (source, translated):
        size = voxel_size_zyx_nm(volume)
        assert size == pytest.approx((45, 9.5, 9.5), rel=0.06)
        assert np.multiply(volume.shape[1:], size) == pytest.approx(extent, rel=0.01)
        assert abs(float(volume.mean())) < 0.1 and float(volume.std()) == pytest.approx(1, abs=0.1)
    assert not np.array_equal(source, translated)
    assert not (tmp_path / "run" / "log.csv").exists()


def test_alignment_on_top_of_translation_logs_both(both, train, tmp_path):
    options = ("--translator", both / "translate" / "model.pt", "--label_fraction", 0.5)
    train(["train.json", "align.json"], tmp_path / "run", *options)
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    assert {"segmentation", "target_segmentation", "alignment_encoder_4", "domain_accuracy"} <= row.keys()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--translator", "nowhere.pt"), "translator: checkpoint nowhere.pt does not exist"),
        (("--translator", CONFIGS.parent / "models/model.pt"), "belongs to another architecture"),
        (("--translate_roi_size_zyx", "[1,30,30]"), "translate_roi_size_zyx is [1, 30, 30]"),
        (("--label_fraction", 0.1), "add align.json"),
        (("--resume", "True"), "translate/checkpoint.pt does not exist"),
    ],
)
def test_a_wrong_option_stops_before_stage_1(train, tmp_path, options, named):
    process = train(["train.json"], tmp_path / "run", *options, check=False)
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert process.returncode == 1 and len(errors) == 1 and named in errors[0]
    assert not list((tmp_path / "run").rglob("model.pt"))


def test_two_processes_translate_and_segment(both, train, tmp_path):
    """Both processes reach stage 2 with one translator: its weights are those of a run from that very file."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    files = ["train.json", "multi_gpu_train.json"]
    train(files, tmp_path / "run", "--translate_epochs", 1, launcher=launcher)
    train(files, tmp_path / "again", "--translator", tmp_path / "run" / "translate" / "model.pt", launcher=launcher)
    assert equal(tmp_path / "run", tmp_path / "again", "model.pt")
