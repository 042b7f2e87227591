"""What only em_dann_segmentation has: its choices from the command line, and the combinations that it refuses."""

import csv
import json

import pytest

CONFIG = "bundles/em_dann_segmentation/configs/train.json"
SHORT = (
    "--epochs", 1, "--steps_per_epoch", 2, "--batch_size", 1, "--roi_size_zyx", "[8,64,64]", "--z_phases", 1,
)  # fmt: skip


def train(monai_bundle, datalist, output_dir, *options, check=True):
    return monai_bundle(
        "run", "training", "--config_file", CONFIG, "--datalist", datalist, "--output_dir", output_dir, *SHORT,
        *options, check=check,
    )  # fmt: skip


def test_levels_labels_and_entropy_from_the_command_line(phantom, monai_bundle, tmp_path):
    """Semi-supervised, on one decoder level, with entropy minimisation on top."""
    train(
        monai_bundle, phantom, tmp_path, "--alignment_levels", "{'decoder_0': 0.5}", "--label_fraction", 0.5,
        "--entropy_weight", 0.1, "--adversarial_entropy_weight", 0.1, "--ramp_steps", 2,
    )  # fmt: skip
    (row,) = csv.DictReader((tmp_path / "log.csv").open())
    terms = ("segmentation", "target_segmentation", "alignment_decoder_0", "entropy", "adversarial_entropy")
    assert sum(float(row[name]) for name in terms) == pytest.approx(float(row["loss"]), rel=1e-5)
    monitors = {"domain_accuracy", "domain_accuracy_decoder_0", "reversal", "target_entropy", "entropy_domain_accuracy"}
    assert monitors <= row.keys() and not any("encoder_" in name for name in row)


def test_entropy_minimisation_alone(phantom, monai_bundle, tmp_path):
    train(monai_bundle, phantom, tmp_path, "--alignment", "none", "--entropy_weight", 0.1)
    (row,) = csv.DictReader((tmp_path / "log.csv").open())
    assert "entropy" in row and not any("alignment" in name or "accuracy" in name for name in row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--alignment", "gan"), "alignment is 'gan': give one of dann, mmd, coral, none"),
        (("--alignment_levels", "{'encoder_5': 1}"), "alignment_levels names 'encoder_5', which does not exist: give"),
        (("--alignment_levels#encoder_4", -1), "the weight of encoder_4 in alignment_levels is -1"),
        (("--reversal", -1), "reversal is -1"),
        (("--reversal_schedule", "linear"), "reversal_schedule is 'linear': give one of ganin, constant"),
        (("--ramp_steps", 0), "ramp_steps is 0"),
        (("--entropy_weight", -1), "entropy_weight is -1"),
        (("--label_fraction", 0.5), "label_fraction is 0.5, give 0 to use no target labels"),
    ],
)
def test_a_bad_combination_is_one_line_before_training(phantom, monai_bundle, tmp_path, options, message):
    datalist = json.loads(phantom.read_text())
    for item in datalist["target"]["training"]:
        del item["label"]
    unlabelled = phantom.parent / "unlabelled_target.json"
    unlabelled.write_text(json.dumps(datalist))
    process = train(monai_bundle, unlabelled, tmp_path / "run", *options, check=False)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "run" / "log.csv").exists()
