"""The boundary bundle's chain of models, M1 to M3 and the adapted one, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from crossem.data import load_datalist
from crossem.io import read_volume
from crossem.transforms import em_augmentation

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "em_boundary_segmentation" / "configs"
FAST = tuple("--steps_per_epoch 2 --batch_size 2 --roi_size_zyx [8,64,64] --z_phases 1 --val_interval 9".split())


@pytest.fixture(scope="module")
def train(monai_bundle, phantom):
    """Trains with overlays, on the phantom's boundaries unless told otherwise; returns the process."""

    def run(output_dir, *options, overlays=(), epochs=1, labels="boundaries", check=True, **more):
        files = str([str(CONFIGS / name) for name in ("train.json", *overlays)])
        datalist = phantom.with_name(f"datalist_{labels}.json") if labels else phantom
        return monai_bundle(
            "run", "training", "--config_file", files, "--datalist", datalist, "--output_dir", output_dir,
            "--epochs", epochs, *FAST, *options, check=check, **more,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def four_classes(train, tmp_path_factory):
    """Experiment 1: M1."""
    output = tmp_path_factory.mktemp("m1")
    train(output, overlays=["classes4.json"], labels="classes4")
    return output / "model.pt"


@pytest.fixture(scope="module")
def boundaries(train, tmp_path_factory):
    """Experiment 2: M2."""
    output = tmp_path_factory.mktemp("m2")
    train(output)
    return output / "model.pt"


def weights(path):
    return torch.load(path, weights_only=True)


def log(folder):
    return list(csv.DictReader((folder / "log.csv").open()))


def test_four_classes_are_scored_and_segmented(monai_bundle, four_classes, phantom, tmp_path):
    options = ("--checkpoint", four_classes, "--roi_size_zyx", "[8,64,64]", "--output_dir")
    files = str([str(CONFIGS / name) for name in ("train.json", "classes4.json", "evaluate.json")])
    datalist = ("--datalist", phantom.with_name("datalist_classes4.json"))
    monai_bundle("run", "evaluating", "--config_file", files, *datalist, *options, tmp_path / "scores")
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())["scores"]
    assert 0 <= scores["mean_iou"] <= 1
    assert 0 <= scores["adapted_rand_error"] <= 1 and "instance_f1_mitochondria" in scores
    assert not {"instance_f1_glia", "instance_f1_cytoplasm"} & scores.keys()
    image = load_datalist(phantom)["target"]["test"][0]["image"]
    monai_bundle(
        "run", "inference", "--config_file", CONFIGS / "inference.json", "--num_classes", 4,
        "--dataset_dir", image, *options, tmp_path / "out",
    )  # fmt: skip
    (written,) = (tmp_path / "out").iterdir()
    assert int(read_volume(written).max()) < 4


def test_two_classes_start_from_four_except_for_the_classification_layer(train, four_classes, tmp_path):
    """A learning rate of 0 leaves the start as it is."""
    train(tmp_path, "--pretrained", four_classes, "--new_classifier", "True", "--learning_rate", 0)
    start, result = weights(four_classes), weights(tmp_path / "model.pt")
    same = {
        name for name in result if result[name].shape == start[name].shape and torch.equal(result[name], start[name])
    }
    assert result.keys() - same == {"decoder.head.weight", "decoder.head.bias"}
    assert (start["decoder.head.bias"].shape, result["decoder.head.bias"].shape) == ((4,), (2,))


def test_every_weighting_trains_in_its_own_way(train, boundaries, tmp_path):
    losses = {"distance": log(boundaries.parent)[0]["loss"]}
    for name, options in {
        "entropy": ("--weighting", "entropy", "--entropy_window_zyx", "[3,5,5]"),
        "ratio 5": ("--weighting", "ratio", "--boundary_ratio", 5),
        "ratio 2": ("--weighting", "ratio", "--boundary_ratio", 2),
        "none": ("--weighting", "none"),
    }.items():
        train(tmp_path / name, *options)
        losses[name] = log(tmp_path / name)[0]["loss"]
    assert len(set(losses.values())) == 5


def test_adaptation_leaves_the_source_loss_out_unless_told_otherwise(train, boundaries, tmp_path):
    adapt = ("--pretrained", boundaries, "--warmup_steps", 0)
    train(tmp_path / "adapted", *adapt, overlays=["adapt.json"])
    train(tmp_path / "kept", *adapt, "--source_weight", 0.5, overlays=["adapt.json", "conditional.json"])
    (adapted,), (kept,) = log(tmp_path / "adapted"), log(tmp_path / "kept")
    pairs = {"discriminator_source", "discriminator_target", "discriminator_accuracy"}
    assert pairs <= adapted.keys() and not {"segmentation", "discriminator_mismatched"} & adapted.keys()
    assert pairs | {"segmentation", "discriminator_mismatched"} <= kept.keys()
    start = weights(boundaries)
    assert any(
        not torch.equal(value, start[name]) for name, value in weights(tmp_path / "adapted" / "model.pt").items()
    )


def test_a_resumed_adaptation_ends_with_the_weights_of_an_uninterrupted_one(train, boundaries, tmp_path):
    adapt = ("--pretrained", boundaries, "--warmup_steps", 1)
    for folder, epochs, options in (("whole", 2, ()), ("parts", 1, ()), ("parts", 2, ("--resume", "True"))):
        train(tmp_path / folder, *adapt, *options, overlays=["adapt.json"], epochs=epochs)
    whole, parts = (torch.load(tmp_path / f / "checkpoint.pt", weights_only=True)["parts"] for f in ("whole", "parts"))
    for part in ("network", "discriminator"):
        assert all(torch.equal(whole[part][name], parts[part][name]) for name in whole[part])


def test_two_processes_adapt_one_model(train, boundaries, tmp_path):
    train(
        tmp_path, "--pretrained", boundaries, "--warmup_steps", 1, overlays=["adapt.json", "multi_gpu_train.json"],
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    )  # fmt: skip
    assert len(log(tmp_path)) == 1 and (tmp_path / "model.pt").is_file()


def without_target_labels(phantom, folder):
    datalist = json.loads(phantom.with_name("datalist_boundaries.json").read_text())
    items = [item for domain in ("source", "target") for split in datalist[domain].values() for item in split]
    for item in items:
        item |= {key: str(phantom.parent / item[key]) for key in ("image", "label")}
    for split in datalist["target"].values():
        del split[0]["label"]
    (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder / "datalist.json"


def test_adaptation_needs_no_target_label(train, boundaries, phantom, tmp_path):
    options = ("--pretrained", boundaries, "--datalist", without_target_labels(phantom, tmp_path))
    train(tmp_path / "run", *options, overlays=["adapt.json"])
    assert (tmp_path / "run" / "model.pt").is_file()


@pytest.mark.parametrize(
    ("overlays", "options", "named"),
    [
        ((), ("--weighting", "entropi"), "weighting is 'entropi': give one of distance, entropy, ratio, none"),
        ((), ("--weighting", "ratio", "--boundary_ratio", 0), "boundary_ratio is 0"),
        ((), ("--distance_sigma_nm", -1), "sigma_nm is -1"),
        ((), ("--weighting", "entropy", "--entropy_window_zyx", "[1,4,4]"), "window_zyx is [1, 4, 4]"),
        ((), ("--new_classifier", "True"), "new_classifier is True and pretrained is not given"),
        ((), ("--jitter", 2), "jitter is 2"),
        (["adapt.json"], ("--source_weight", -1), "source_weight is -1"),
        (["adapt.json"], ("--label_fraction", 2), "label_fraction is 2"),
        (["adapt.json"], ("--warmup_steps", "long"), "warmup_steps is 'long'"),
        (["conditional.json"], (), "conditional.json lacks the discriminator of adapt.json: put adapt.json before it"),
        (["adapt.json"], ("--pretrained", "nowhere.pt"), "nowhere.pt does not exist"),
    ],
)
def test_a_wrong_option_is_one_line(train, tmp_path, overlays, options, named):
    refused(train(tmp_path / "run", *options, overlays=overlays, check=False), named)
    assert not (tmp_path / "run" / "model.pt").exists()


def test_a_datalist_without_boundaries_is_one_line(train, tmp_path):
    refused(
        train(tmp_path, labels=None, check=False), "classes are background, mitochondria: one has to be named 'bound"
    )


def test_target_labels_that_are_not_there_are_one_line(train, phantom, tmp_path):
    options = ("--label_fraction", 0.5, "--datalist", without_target_labels(phantom, tmp_path))
    refused(train(tmp_path / "run", *options, overlays=["adapt.json"], check=False), "label_fraction is 0.5")


def test_the_jitter_of_an_adaptation_changes_both_domains():
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.json", "adapt.json")])
    parser["jitter"] = 0.5
    plain = len(em_augmentation(jitter=0).transforms)
    for domain in ("train", "target"):
        assert len(parser.get_parsed_content(f"{domain}#dataset#augmentation").transforms) > plain


def refused(process, named):
    assert process.returncode == 1
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and named in errors[0] and "Traceback" not in process.stderr
