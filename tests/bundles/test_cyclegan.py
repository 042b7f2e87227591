"""The two stages of em_cyclegan_segmentation, each alone, resumed, and in one run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from crossem.io import read_volume, voxel_size_zyx_nm
from crossem.networks import SliceGenerator

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


def start_weights(configs, files, needed):
    """The segmentation network's weights when `run` has built what is `needed` at its beginning."""
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in files])
    parser["bundle_root"] = str(configs.parent)
    parser["datalist"] = {}
    parser["class_names"] = ["background", "mitochondria"]
    set_determinism(seed=0)
    for name in needed:
        parser.get_parsed_content(name)
    return parser.get_parsed_content("network").state_dict()


@pytest.mark.parametrize("files", [["train.json"], ["train.json", "align.json"], ["train.json", "translate.json"]])
def test_the_segmentation_network_starts_as_in_other_bundles(files):
    run = json.loads((CONFIGS / next(f for f in reversed(files) if f != "align.json")).read_text())["run"]
    assert run[:2] == ["@network", "@translate#network"]
    own = start_weights(CONFIGS, files, [item[1:] for item in run[:2]])
    reference = CONFIGS.parents[1] / "em_unet_finetune_segmentation" / "configs"
    other = start_weights(reference, ["train.json"], ["network"])
    assert own.keys() == other.keys() and all(torch.equal(own[name], value) for name, value in other.items())


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


def test_stage_2_sees_the_translations(both, train, tmp_path):
    """With another translator, and all else the same, it learns something else."""
    torch.save(SliceGenerator(8, 1).state_dict(), tmp_path / "other.pt")
    train(["train.json"], tmp_path / "run", "--translator", tmp_path / "other.pt")
    assert not equal(both, tmp_path / "run", "model.pt")


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
    entropy = ("--entropy_weight", 0.01, "--adversarial_entropy_weight", 0.01)
    options = ("--translator", both / "translate" / "model.pt", "--label_fraction", 0.5, *entropy)
    train(["train.json", "align.json"], tmp_path / "run", *options)
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    expected = {"segmentation", "target_segmentation", "alignment_encoder_4", "entropy", "adversarial_entropy"}
    assert expected <= row.keys()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--translator", "nowhere.pt"), "translator: checkpoint nowhere.pt does not exist"),
        (("--translator", CONFIGS.parent / "models/model.pt"), "belongs to another architecture"),
        (("--translate_roi_size_zyx", "[1,30,30]"), "translate_roi_size_zyx is [1, 30, 30]"),
        (("--label_fraction", 0.1), "add align.json"),
        (("--resume", "True"), "translate/checkpoint.pt does not exist"),
        (("--cycle_weight", -1), "cycle_weight is -1"),
        (("--augmentation_strength", 5), "augmentation_strength is 5"),
        (("--learning_rate", -1), "learning_rate is -1"),
        (("--class_names", "['background']"), "label values 1 are no classes"),
    ],
)
def test_a_wrong_option_stops_before_stage_1(train, tmp_path, options, named):
    check_stopped_before_stage_1(train(["train.json"], tmp_path / "run", *options, check=False), tmp_path, named)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--target#dataset#augmentation", "$crossem.transforms.em_augmentation(5)"), "augmentation_strength is 5"),
        (("--discriminator_learning_rate", -1), "learning_rate is -1"),
        (("--reversal", -1), "reversal is -1"),
        (("--entropy_weight", -1), "entropy_weight is -1"),
    ],
)
def test_a_wrong_option_of_the_alignment_stops_before_stage_1(train, tmp_path, options, named):
    process = train(["train.json", "align.json"], tmp_path / "run", *options, check=False)
    check_stopped_before_stage_1(process, tmp_path, named)


def check_stopped_before_stage_1(process, tmp_path, named):
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


def test_one_of_two_processes_writes_the_volumes(both, train, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    files = ["train.json", "translate.json", "multi_gpu_train.json"]
    process = train(
        files, tmp_path / "run", "--translator", both / "translate" / "model.pt", "--logging_file",
        CONFIGS / "logging.conf", launcher=launcher,
    )  # fmt: skip
    lines = (process.stdout + process.stderr).splitlines()
    written = [line for line in lines if "->" in line and "_translated" in line]
    assert len(written) == len(list((tmp_path / "run" / "translate" / "volumes").glob("*_translated*"))) == 1


def test_epochs_shorten_both_stages():
    """The default follows `epochs`, so that a trial is short."""
    assert json.loads((CONFIGS / "train.json").read_text())["translate_epochs"] == "@epochs"
