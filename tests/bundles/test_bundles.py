"""Every bundle, as a user runs it: all commands, from both roots, on files."""

import csv
import json
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from crossem.io import read_volume, voxel_size_zyx_nm

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(p.name for p in (ROOT / "bundles").iterdir() if (p / "configs" / "metadata.json").is_file())
REFERENCE = "em_unet_finetune_segmentation"
STANDARD = ("train.json", "evaluate.json", "inference.json", "multi_gpu_train.json", "metadata.json")
OVERLAYS = [
    f"{name}/{path.name}"
    for name in BUNDLES
    for path in sorted((ROOT / "bundles" / name / "configs").glob("*.json"))
    if path.name not in STANDARD
]
FAST = tuple("--steps_per_epoch 2 --batch_size 1 --roi_size_zyx [8,64,64] --z_phases 1 --val_interval 1".split())

# What is not the same in all bundles; a name is that of a bundle, or of one overlay of it.
MORE_OPTIONS = {
    "em_cyclegan_segmentation": ("--translate_epochs", 1, "--translate_steps_per_epoch", 2),
}
PHANTOM_DATALISTS = {
    "em_boundary_segmentation": "datalist_boundaries.json",
    "em_boundary_segmentation/classes4.json": "datalist_classes4.json",
}
BASES = {"em_boundary_segmentation/conditional.json": ("adapt.json",)}
DIFFERING_KEYS = {
    "em_boundary_segmentation": {
        "working_voxel_size_zyx_nm",
        "roi_size_zyx",
        "window_size_zyx",
        "num_classes",
        "min_object_nm3",
    },
}
INSTANCE_SCORES = tuple(f"instance_{metric}_mitochondria" for metric in ("f1", "precision", "recall"))
PARTITION_SCORES = ("adapted_rand_error", *(f"variation_of_information{part}" for part in ("", "_split", "_merge")))
META_SCHEMA = ROOT / "tests" / "bundles" / "meta_schema.json"


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request):
    return ROOT / "bundles" / request.param


@pytest.fixture(scope="module")
def data(bundle, phantom):
    """The options of a short training on the small phantom, its datalist first."""
    return short_training(bundle.name, phantom)


@pytest.fixture(scope="module")
def trained(bundle, data, monai_bundle, tmp_path_factory):
    """One short training from the repository's root."""
    output = tmp_path_factory.mktemp("run") / "train"
    monai_bundle(
        "run", "training", "--config_file", bundle.relative_to(ROOT) / "configs/train.json",
        "--output_dir", output, "--epochs", 2, *data, plain=bundle.name == REFERENCE,
    )  # fmt: skip
    return output


def short_training(name, phantom):
    """The options of a short training of a bundle, or of "bundle/overlay"."""
    names = dict.fromkeys((name.split("/")[0], name))
    datalists = [PHANTOM_DATALISTS[n] for n in names if n in PHANTOM_DATALISTS] or ["datalist.json"]
    more = [option for n in names for option in MORE_OPTIONS.get(n, ())]
    return ("--datalist", phantom.parent / datalists[-1], *FAST, *more)


def configs(bundle, *names):
    return str([str(bundle / "configs" / name) for name in names])


def test_files_are_complete(bundle):
    expected = (
        "configs/metadata.json", "configs/train.json", "configs/evaluate.json", "configs/inference.json",
        "configs/multi_gpu_train.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt",
        "LICENSE", "models/model.pt",
    )  # fmt: skip
    assert [name for name in expected if not (bundle / name).is_file()] == []
    assert (bundle / "models/model.pt").stat().st_size < 10e6


def test_metadata_follows_the_schema_of_monai(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    jsonschema.validate(metadata, json.loads(META_SCHEMA.read_text()))


@pytest.mark.parametrize(
    "name", ["evaluate.json", "inference.json", "multi_gpu_train.json", "logging.conf", "../LICENSE"]
)
def test_what_methods_share_is_the_same_in_all_bundles(bundle, name):
    own, reference = ((folder / "configs" / name).read_text() for folder in (bundle, ROOT / "bundles" / REFERENCE))
    reference = reference.replace(REFERENCE, bundle.name)
    if name.endswith(".json"):
        own, reference = json.loads(own), json.loads(reference)
        for key in DIFFERING_KEYS.get(bundle.name, set()) & reference.keys():
            reference[key] = own.get(key)
    assert own == reference


METHODS_OWN = (
    "bundle_root datalist domain label_fraction z_phases working_voxel_size_zyx_nm min_object_nm3 network optimizer "
    "method initialize run train#preprocessing train#dataset train#dataloader train#handlers"
).split()


def test_a_training_differs_in_the_method_only(bundle):
    own, reference = (
        components(json.loads((folder / "configs/train.json").read_text()))
        for folder in (bundle, ROOT / "bundles" / REFERENCE)
    )
    if bundle.name == "em_boundary_segmentation":
        del reference["appearance_strength"]  # that is for objects which need not be dark; boundaries are
    assert [key for key in reference if key not in METHODS_OWN and own.get(key) != reference[key]] == []


def components(config, prefix=""):
    """The parts of a config that are built as one, by their ids."""
    found = {}
    for key, value in config.items():
        is_section = isinstance(value, dict) and "_target_" not in value
        found |= components(value, f"{prefix}{key}#") if is_section else {prefix + key: value}
    return found


def test_the_target_is_loaded_alike_in_all_methods():
    files = ("dann", "train"), ("ynet", "train"), ("cyclegan", "align"), ("boundary", "adapt")
    files += (("unet_finetune", "self_train"),)
    targets = [
        json.loads((ROOT / f"bundles/em_{b}_segmentation/configs/{c}.json").read_text())["target"] for b, c in files
    ]
    # label maps are compared there, so that their patches may not be chosen by what is in them
    assert targets[3]["dataset"].pop("foreground_share") == 0
    targets[3]["dataset"]["augmentation"] = targets[3]["dataset"]["augmentation"].replace(", @jitter", "")
    del targets[3]["preprocessing"]["weighting"]
    # the share of foreground is counted there, so that patches are not chosen by theirs; the teacher sees a plain copy
    own = targets[4]["dataset"]
    assert own.pop("foreground_share") == 0
    own["augmentation"] = own["augmentation"].replace(", plain_copy=True", "")
    own["data"] = own["data"].replace(", unlabelled=@use_unlabelled", "")
    assert all(target == targets[0] for target in targets)


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_monai_finds_all_properties(bundle, kind, data, phantom):
    name = "train.json" if kind == "train" else "inference.json"
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / name),
        meta_file=str(bundle / "configs/metadata.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(bundle),
        **({"datalist": str(data[1])} if kind == "train" else {"dataset_dir": str(phantom.parent / "target/test")}),
        **({"roi_size_zyx": [8, 64, 64], "z_phases": 1, "output_dir": str(phantom.parent / "properties")}),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_network_makes_what_the_metadata_says(bundle, monai_bundle):
    monai_bundle(
        "verify_net_in_out", "--net_id", "network_def", "--n", 1, "--device", "cpu",
        "--meta_file", bundle / "configs/metadata.json", "--config_file", bundle / "configs/inference.json",
    )  # fmt: skip


def test_every_bundle_ships_weights_of_its_own():
    assert len({(ROOT / "bundles" / name / "models/model.pt").read_bytes() for name in BUNDLES}) == len(BUNDLES)


def test_shipped_weights_fit_the_network(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))


def test_training_leaves_weights_and_a_log(trained):
    rows = list(csv.DictReader((trained / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert (trained / "model.pt").is_file() and list((trained / "tensorboard").iterdir())


def test_resume_equals_an_uninterrupted_run(bundle, data, trained, monai_bundle, tmp_path):
    """Epoch 1, then resumed to 2, from the bundle's own root."""
    common = ("--config_file", "configs/train.json", "--output_dir", tmp_path / "run", *data)
    monai_bundle("run", "training", "--epochs", 1, *common, cwd=bundle)
    monai_bundle("run", "training", "--epochs", 2, "--resume", "True", *common, cwd=bundle)
    whole, resumed = weights(trained), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def test_finetuning_twice_keeps_the_frozen_levels(bundle, data, trained, monai_bundle, tmp_path):
    """Two-step fine-tuning: the overlay, and the overlay again from its result."""
    if not (bundle / "configs/finetune.json").is_file():
        pytest.skip(f"{bundle.name} has no finetune.json")
    start = trained
    for step in ("step1", "step2"):
        monai_bundle(
            "run", "training", "--config_file", configs(bundle, "train.json", "finetune.json"), *data,
            "--pretrained", start / "model.pt", "--output_dir", tmp_path / step, "--label_fraction", 0.15,
            "--frozen_levels", 2, "--epochs", 1,
        )  # fmt: skip
        before, after = weights(start), weights(tmp_path / step)
        frozen = ("encoder.levels.0.", "encoder.levels.1.")
        assert all(torch.equal(before[k], after[k]) == k.startswith(frozen) for k in before)
        start = tmp_path / step


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_trains(overlay, phantom, monai_bundle, tmp_path):
    """With its own defaults, so that it starts where it says it starts."""
    name, file = overlay.split("/")
    files = ("train.json", *BASES.get(overlay, ()), file)
    monai_bundle(
        "run", "training", "--config_file", configs(ROOT / "bundles" / name, *files),
        "--output_dir", tmp_path / "run", "--epochs", 1, *short_training(overlay, phantom),
    )  # fmt: skip
    logs = list((tmp_path / "run").rglob("log.csv"))
    rows = [row for log in logs for row in csv.DictReader(log.open())]
    assert rows and all(row["epoch"] == "1" and np.isfinite(float(row["loss"])) for row in rows)
    assert all(torch.isfinite(v).all() for log in logs for v in weights(log.parent).values())


def test_evaluating_writes_the_scores(bundle, data, trained, monai_bundle, tmp_path):
    process = monai_bundle(
        "run", "evaluating", "--config_file", configs(Path("."), "train.json", "evaluate.json"), *data[:2],
        "--checkpoint", trained / "model.pt", "--split", "test", "--min_object_nm3", 1e6,
        "--confirmed_by", trained / "model.pt", "--output_dir", tmp_path / "new", cwd=bundle,
    )  # fmt: skip
    report = json.loads((tmp_path / "new/scores.json").read_text())
    given = {"domain": "target", "split": "test", "min_object_nm3": 1e6, "min_solidity": 0}
    given |= {"confirmed_by": str(trained / "model.pt"), "min_confirmed": 0.3}
    assert "does not confirm them" in process.stdout + process.stderr
    assert report["options"].items() >= given.items()
    assert report["checkpoint"].endswith("model.pt") and len(report["images"]) == 1
    assert 0 <= report["scores"]["mean_iou"] <= 1
    of_class = {"em_boundary_segmentation": {*PARTITION_SCORES}}.get(bundle.name, {*INSTANCE_SCORES})
    assert report["scores"].keys() & {*PARTITION_SCORES, *INSTANCE_SCORES} == of_class


def test_inference_keeps_grid_voxel_size_and_orientation(bundle, monai_bundle, tmp_path):
    """Odd-sized, anisotropic, smaller than the window, mirrored in y; with the shipped weights, which confirm all."""
    rng = np.random.default_rng(0)
    affine = np.diag([0.0048, -0.0046, 0.0475, 1.0])
    affine[:3, 3] = (0.1, 0.2, -0.3)
    image = nibabel.Nifti1Image(rng.integers(0, 255, (53, 37, 5), dtype=np.uint8), affine)
    image.header.set_xyzt_units("micron")
    (tmp_path / "stacks").mkdir()
    nibabel.save(image, tmp_path / "stacks" / "odd.nii")
    process = monai_bundle(
        "run", "inference", "--config_file", "configs/inference.json", "--dataset_dir", tmp_path / "stacks",
        "--output_dir", tmp_path / "out", "--confirmed_by", "models/model.pt", cwd=bundle,
        plain=bundle.name == REFERENCE,
    )  # fmt: skip
    assert "does not confirm them" in process.stdout + process.stderr
    classes = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    (written,) = (tmp_path / "out").iterdir()
    result = nibabel.load(written)
    assert result.shape == image.shape and set(np.unique(result.dataobj)) <= set(range(classes["num_channels"]))
    before, after = (voxel_size_zyx_nm(read_volume(p)) for p in (tmp_path / "stacks" / "odd.nii", written))
    assert after == pytest.approx(before)
    assert nibabel.aff2axcodes(result.affine) == nibabel.aff2axcodes(affine)


def test_torchscript_equals_eager(bundle, trained, monai_bundle, tmp_path):
    monai_bundle(
        "ckpt_export", "--net_id", "network_def", "--filepath", tmp_path / "model.ts",
        "--ckpt_file", trained / "model.pt", "--meta_file", bundle / "configs/metadata.json",
        "--config_file", bundle / "configs/inference.json",
    )  # fmt: skip
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(trained / "model.pt", weights_only=True))
    x = torch.randn(1, 1, 8, 64, 64)
    with torch.no_grad():
        assert (torch.jit.load(str(tmp_path / "model.ts"))(x) - network(x)).abs().max() == 0


def test_two_processes_train_one_model(bundle, data, monai_bundle, tmp_path):
    monai_bundle(
        "run", "training", "--config_file", configs(bundle, "train.json", "multi_gpu_train.json"),
        "--output_dir", tmp_path / "run", "--epochs", 1, *data,
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    )  # fmt: skip
    assert len(list(csv.DictReader((tmp_path / "run/log.csv").open()))) == 1
    assert (tmp_path / "run/model.pt").is_file()


@pytest.mark.parametrize("fault", ["NaN", "constant"])
def test_a_bad_stack_is_one_line(bundle, monai_bundle, tmp_path, fault):
    array = np.full((20, 20, 6), 7, dtype=np.float32)
    if fault == "NaN":
        array[3, 4, 5] = np.nan
    image = nibabel.Nifti1Image(array, np.diag([0.005, 0.005, 0.05, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "bad.nii")
    process = monai_bundle(
        "run", "inference", "--config_file", bundle / "configs/inference.json", "--dataset_dir", tmp_path / "bad.nii",
        "--output_dir", tmp_path / "out", check=False,
    )  # fmt: skip
    assert process.returncode == 1
    lines = [x for x in (process.stdout + process.stderr).splitlines() if "error" in x.lower()]
    assert len(lines) == 1 and lines[0].startswith("error:") and "bad.nii" in lines[0] and fault in lines[0]
    assert not list((tmp_path / "out").glob("*_seg*"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--epocs", 3), "--epocs is not an option of this config: no 'epocs' there, did you mean epochs"),
        (("--datalist", "nowhere/list.json"), "nowhere/list.json"),
        (("--pretrained", "nowhere.pt"), "nowhere.pt does not exist"),
        (("--label_fraction", -1), "label_fraction is -1"),
        (("--frozen_levels", 9), "frozen_levels is 9"),
    ],
)
def test_a_wrong_option_is_one_line(bundle, data, monai_bundle, tmp_path, options, named):
    process = monai_bundle(
        "run", "training", "--config_file", bundle / "configs/train.json",
        "--output_dir", tmp_path / "run", *data, *options, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and named in errors[0]
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize("arguments", [("run", "training", "--epocs", 3), ("nothing",)])
def test_a_warm_start_acts_as_a_plain_one(monai_bundle, arguments):
    """What the other tests rely on: one error goes through an excepthook, the other is an exit."""
    file = ("--config_file", f"bundles/{REFERENCE}/configs/train.json") if arguments[0] == "run" else ()
    warm, plain = (monai_bundle(*arguments, *file, plain=plain, check=False) for plain in (False, True))
    assert warm.returncode == plain.returncode != 0
    assert warm.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert "Traceback" not in warm.stderr
