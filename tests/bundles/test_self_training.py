"""self_train.json and histogram.json of em_unet_finetune_segmentation: what they train on, resume, and refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from crossem import InputError
from crossem.data import load_datalist

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = "bundles/em_unet_finetune_segmentation/configs"
SHORT = (
    "--steps_per_epoch", 2, "--batch_size", 1, "--roi_size_zyx", "[8,64,64]", "--z_phases", 1,
)  # fmt: skip


def train(monai_bundle, overlay, datalist, output_dir, *options, check=True):
    return monai_bundle(
        "run", "training", "--config_file", str([f"{CONFIGS}/train.json", f"{CONFIGS}/{overlay}.json"]),
        "--datalist", datalist, "--output_dir", output_dir, *SHORT, *options, check=check,
    )  # fmt: skip


def changed(phantom, name, change):
    """A copy of the phantom's datalist with a change."""
    content = json.loads(phantom.read_text())
    change(content)
    path = phantom.parent / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def parts(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["parts"]


def row(folder):
    return list(csv.DictReader((folder / "log.csv").open()))[-1]


@pytest.fixture(scope="module")
def unlabelled(phantom):
    """A target without any labels."""

    def change(content):
        for items in content["target"].values():
            for item in items:
                del item["label"]

    return changed(phantom, "no_target_labels", change)


@pytest.fixture(scope="module")
def whole(unlabelled, monai_bundle, tmp_path_factory):
    """Two epochs without target labels."""
    output = tmp_path_factory.mktemp("self_train") / "whole"
    train(monai_bundle, "self_train", unlabelled, output, "--epochs", 2, "--val_interval", 1)
    return output


def parsed(overlay, phantom, **options):
    """The configs, before anything is built."""
    parser = ConfigParser()
    parser.read_config([str(ROOT / CONFIGS / name) for name in ("train.json", f"{overlay}.json")])
    parser.update({"datalist": str(phantom), "roi_size_zyx": [8, 64, 64], "z_phases": 1, **options})
    return parser


def test_the_foreground_share_is_that_of_the_source_whatever_is_validated(phantom):
    parser = parsed("self_train", phantom, domain="target", label_fraction=0.5)
    (item,) = load_datalist(phantom)["source"]["training"]
    label = parser.get_parsed_content("train#preprocessing")(item)["label"].numpy()
    assert parser.get_parsed_content("threshold").share == pytest.approx(np.mean(label > 0), abs=1e-9)
    assert "label" in parser.get_parsed_content("target#dataset").volumes[0]


@pytest.mark.parametrize("domain", ["source", "target"])
def test_source_patches_are_cut_from_volumes_with_the_histogram_of_the_target(phantom, domain):
    datalist, (plain, matched) = load_datalist(phantom), (parsed(o, phantom) for o in ("finetune", "histogram"))
    matched.update({"domain": domain})
    (source,), (target,) = (datalist[d]["training"] for d in ("source", "target"))
    preprocessing = plain.get_parsed_content("validate#preprocessing")
    before, reference = (preprocessing({"image": item["image"]})["image"].numpy() for item in (source, target))
    (volume,) = matched.get_parsed_content("train#dataset").volumes
    shares = np.linspace(0.01, 0.99, 50)
    expected, were, are = (np.quantile(v, shares) for v in (reference, before, volume["image"].numpy()))
    np.testing.assert_allclose(are, expected, atol=0.02)
    assert abs(were - expected).max() > 0.1 and volume["label"].any()
    np.testing.assert_array_equal(
        volume["image"].numpy().ravel()[before.ravel().argsort()], np.sort(volume["image"], axis=None)
    )


def test_the_threshold_has_counted_the_target(whole):
    assert float(row(whole)["validation_mean_iou"]) >= 0  # on the source: the target has no labels
    assert {"segmentation", "self_training", "pseudo_foreground", "pseudo_confident"} <= row(whole).keys()
    voxels, steps = 8 * 64 * 64, 4
    remembered = voxels * sum(0.98**step for step in range(steps))
    assert parts(whole)["threshold"]["histogram"].sum().item() == pytest.approx(remembered, rel=1e-4)


def test_resume_equals_an_uninterrupted_run(whole, unlabelled, monai_bundle, tmp_path):
    common = (monai_bundle, "self_train", unlabelled, tmp_path / "run", "--val_interval", 1)
    train(*common, "--epochs", 1)
    train(*common, "--epochs", 2, "--resume", "True")
    expected, resumed = parts(whole), parts(tmp_path / "run")
    assert torch.equal(expected["threshold"]["histogram"], resumed["threshold"]["histogram"])
    for name, network in (("network", lambda p: p["network"]), ("average", lambda p: p["average"]["network"])):
        assert all(torch.equal(network(expected)[k], network(resumed)[k]) for k in network(expected)), name


def test_labels_of_a_part_of_the_target_take_the_place_of_the_teachers(phantom, monai_bundle, tmp_path):
    """With all labels given nothing is left to the teacher, with a part something is."""
    shares = []
    for fraction in (0.15, 1.0):
        train(
            monai_bundle, "self_train", phantom, tmp_path / str(fraction), "--label_fraction", fraction,
            "--epochs", 1, "--confidence", 0.9,
        )  # fmt: skip
        shares.append(float(row(tmp_path / str(fraction))["pseudo_confident"]))
    assert shares[0] < shares[1] == 1


def test_a_bad_option_is_one_line_before_training(unlabelled, monai_bundle, tmp_path):
    process = train(monai_bundle, "self_train", unlabelled, tmp_path / "run", "--label_fraction", 0.5, check=False)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "label_fraction is 0.5, give 0 to use no target labels" in errors[0]
    assert not (tmp_path / "run" / "log.csv").exists()


def refusal(parser, output_dir):
    """What building all that trains says."""
    parser.update({"output_dir": str(output_dir)})
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps it
        parser.get_parsed_content("train#trainer")
    error = caught.value
    while not isinstance(error, InputError):
        error = error.__cause__
    return str(error)


@pytest.mark.parametrize("overlay", ["self_train", "histogram"])
def test_the_target_needs_training_volumes(overlay, phantom, tmp_path):
    datalist = changed(phantom, "no_target_training", lambda content: content["target"].pop("training"))
    message = refusal(parsed(overlay, datalist), tmp_path)
    assert "has no items in target.training; it has source.training" in message


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("foreground_share", 5, "foreground_share is 5: give a number, from 0 to 1"),
        ("confidence", -1, "confidence is -1"),
        ("self_training_weight", -1, "self_training_weight is -1"),
        ("ramp_steps", 0, "ramp_steps is 0"),
        ("appearance_strength", 2, "appearance_strength is 2: give a number, from 0 to 1.4"),
    ],
)
def test_a_number_out_of_range_is_named(unlabelled, tmp_path, option, value, message):
    assert message in refusal(parsed("self_train", unlabelled, **{option: value}), tmp_path)
