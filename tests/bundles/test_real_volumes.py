"""The shipped weights on real volumes, by the commands of the README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossem.io import read_volume

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = "bundles/em_unet_finetune_segmentation/configs"
ON_DISK = Path(os.environ.get("CROSSEM_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder with `epfl_to_vnc.json`: data/ when it was fetched, or made of the files on disk."""
    if (ROOT / "data" / "epfl_to_vnc.json").is_file():
        return ROOT / "data"
    if not (ON_DISK / "vnc").is_dir():
        pytest.skip(f"no real data in {ROOT / 'data'} nor in {ON_DISK}; see the README for fetching it")
    root = tmp_path_factory.mktemp("data")
    command = [
        "tools/fetch_datasets.py",
        "get",
        "epfl_hippocampus",
        "vnc",
        "fibsem_medulla",
        "--from",
        ON_DISK,
        "--root",
        root,
    ]
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)
    return root


@pytest.mark.parametrize("bundle", sorted(p.name for p in (ROOT / "bundles").iterdir() if (p / "models").is_dir()))
def test_shipped_weights_score_on_vnc_what_the_docs_say(bundle, data, monai_bundle, tmp_path):
    metrics = json.loads((ROOT / "bundles" / bundle / "configs/metadata.json").read_text())["eval_metrics"]
    kind = "vnc_validation_{}iou_without_vnc_labels"
    is_boundary = kind.format("boundary_") in metrics
    pair, expected = ("fibsem_to_vnc", "boundary_") if is_boundary else ("epfl_to_vnc", "")
    files = str([f"bundles/{bundle}/configs/{name}.json" for name in ("train", "evaluate")])
    monai_bundle(
        "run", "evaluating", "--config_file", files, "--datalist", data / f"{pair}.json", "--output_dir", tmp_path
    )
    report = json.loads((tmp_path / "scores.json").read_text())
    assert "vnc" in report["images"][0]
    assert report["scores"]["mean_iou"] == pytest.approx(metrics[kind.format(expected)], abs=0.02)


def test_a_slice_folder_without_labels_is_segmented(data, monai_bundle, tmp_path):
    stack = next(p for p in (data / "vnc/stack1_test/raw", data / "vnc/stack1/raw") if p.is_dir())
    monai_bundle(
        "run", "inference", "--config_file", f"{CONFIGS}/inference.json", "--dataset_dir", stack,
        "--output_dir", tmp_path, "--voxel_size_zyx_nm", "[47.5,4.6,4.6]",
    )  # fmt: skip
    (written,) = tmp_path.iterdir()
    raw, result = read_volume(stack, (47.5, 4.6, 4.6)), read_volume(written)
    assert result.shape == raw.shape
    assert result.affine.numpy() == pytest.approx(raw.affine.numpy())
    assert 0.005 < float((result > 0).float().mean()) < 0.2
