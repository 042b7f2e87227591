"""The program as a user runs it: exit codes, one-line errors, and one command from files to datalists."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from crossem.data import datalist_items, load_datalist
from crossem.io import read_volume

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tools" / "fetch_datasets.py"
DATA = Path(os.environ.get("CROSSEM_TEST_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "vnc").is_dir(), reason=f"real data not found in {DATA}")


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("fetch_datasets", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def _run(*arguments):
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )


def test_list_and_show(main, capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    vnc = next(line for line in lines if line.startswith("vnc "))
    assert all(word in vnc for word in ("ssTEM", "47.5, 4.6, 4.6", "44 MB", "CC BY-NC-SA 3.0", "download"))
    assert "by hand" in next(line for line in lines if line.startswith("hela_fibsem"))
    assert main(["show", "vnc"]) == 0
    assert "10.6084/m9.figshare.856713" in capsys.readouterr().out


def test_by_hand_is_exit_code_2(main, tmp_path, capsys):
    assert main(["get", "hela_fibsem", "--root", str(tmp_path)]) == 2
    assert f"Put the image and the label volume (0 background, 1 mitochondria) into {tmp_path}/hela_fibsem" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "vcn"],
        ["show", "vcn"],
        ["verify", "vcn"],
        ["get", "vnc", "--from", "/nowhere"],
        ["--registry", "/nowhere/datasets.json", "list"],
    ],
)
def test_wrong_input_is_one_line(main, arguments, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_verify_missing_fails(main, tmp_path, capsys):
    assert main(["verify", "epfl_hippocampus", "--root", str(tmp_path)]) == 1
    assert "2 files missing or changed (first: training.tif)" in capsys.readouterr().err


def _small_registry(tmp_path):
    """datasets.json with volumes of a few rows, the columns and slices as published."""
    content = json.loads((ROOT / "datasets.json").read_text())
    for name, shape in (("vnc", [20, 8, 1024]), ("epfl_hippocampus", [3, 8, 1024])):
        for volume in content["datasets"][name]["volumes"].values():
            volume["shape_zyx"] = shape
    path = tmp_path / "small.json"
    path.write_text(json.dumps(content))
    return path


def _write_published_layouts(folder):
    """VNC as its repository has it, stack1 only, and all four EPFL files; one column of 12 is foreground."""
    plane = np.zeros((8, 1024), np.uint8)
    plane[:, ::12] = 12
    values = {
        "raw": plane,
        "mitochondria": plane,
        "membranes": np.roll(plane, 1) + np.roll(plane, 2),
        "synapses": plane,
        "labels": np.where(plane > 0, 191, 255).astype(np.uint8),
    }
    for name, value in values.items():
        (folder / "vnc" / "stack1" / name).mkdir(parents=True)
        for z in range(20):
            file = {"raw": f"{z:02d}.tif", "labels": f"labels{z:08d}.png"}.get(name, f"{z:02d}.png")
            Image.fromarray(value).save(folder / "vnc" / "stack1" / name / file)
    (folder / "epfl_hippocampus").mkdir()
    for name in ("training", "training_groundtruth", "testing", "testing_groundtruth"):
        stack = np.stack([plane > 0] * 3).astype(np.uint8) * 255
        tifffile.imwrite(folder / "epfl_hippocampus" / f"{name}.tif", stack, photometric="minisblack")


def test_official_layout_has_labels_for_the_test_columns(main, tmp_path):
    _write_published_layouts(tmp_path / "source")
    root = tmp_path / "data"
    assert (
        main(
            [
                "--registry",
                str(_small_registry(tmp_path)),
                "get",
                "vnc",
                "epfl_hippocampus",
                "--from",
                str(tmp_path / "source"),
                "--root",
                str(root),
            ]
        )
        == 0
    )
    datalist = load_datalist(root / "epfl_to_vnc.json")
    (test,) = datalist_items(datalist, "target", "test")
    assert test["region_zyx"] == [[None, None], [None, None], [686, None]]
    label = read_volume(test["label"], test["voxel_size_zyx_nm"], test["region_zyx"])
    expected = np.isin(np.arange(686, 1024) % 12, [0])
    np.testing.assert_array_equal(label[0, 3].numpy(), np.stack([expected] * 8))
    assert "unlabelled" not in datalist["target"]
    assert [Path(item["image"]).name for item in datalist_items(datalist, "source", "test")] == ["testing.tif"]
    assert len(datalist_items(load_datalist(root / "vnc_to_epfl.json"), "target", "test")) == 2
    assert not (root / "fibsem_to_vnc.json").exists()


@pytest.fixture
def served(tmp_path):
    """The address of a server for the EPFL files that `_write_published_layouts` makes."""
    _write_published_layouts(tmp_path / "source")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "source" / "epfl_hippocampus"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def _registry_at(tmp_path, url):
    path = _small_registry(tmp_path)
    content = json.loads(path.read_text())
    content["datasets"]["epfl_hippocampus"]["base_urls"] = [url]
    path.write_text(json.dumps(content))
    return str(path)


def test_download_converts_too(main, tmp_path, served, capsys):
    registry, root = _registry_at(tmp_path, served), tmp_path / "data"
    assert main(["--registry", registry, "get", "epfl_hippocampus", "--root", str(root)]) == 0
    label = read_volume(root / "epfl_hippocampus/crossem/testing_mitochondria.ome.tif")
    assert float(np.mean(label.numpy())) == pytest.approx(86 / 1024)
    assert main(["--registry", registry, "verify", "epfl_hippocampus", "--root", str(root)]) == 0
    assert "4 files as fetched (no published checksum; unchanged since it was downloaded)" in capsys.readouterr().out


def test_no_network_names_address_and_way_by_hand(main, tmp_path, capsys):
    registry = _registry_at(tmp_path, "http://127.0.0.1:9/")
    assert main(["--registry", registry, "get", "epfl_hippocampus", "--root", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("error: "))
    assert "http://127.0.0.1:9/training.tif: connection failed" in line and "get with --from DIR" in line


@needs_data
def test_one_command_from_real_files_to_datalists(main, tmp_path, capsys):
    names = ["epfl_hippocampus", "vnc", "fibsem_medulla"]
    done = _run("get", *names, "--from", DATA, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert main(["verify", *names, "--root", str(tmp_path)]) == 0
    report = capsys.readouterr().out
    assert "fibsem_medulla/grayscale_maps: 250 files published" in report
    assert "epfl_hippocampus/: 2 files as fetched (no published checksum" in report
    assert "vnc/stack1_test/raw: 20 files as fetched (local layout" in report

    shares = {"epfl_to_vnc": (0.056, 0.059), "vnc_to_epfl": (0.059, 0.056), "fibsem_to_vnc": (0.194, 0.209)}
    for name, expected in shares.items():
        datalist = load_datalist(tmp_path / f"{name}.json")
        for domain, share in zip(("source", "target"), expected, strict=True):
            (item,) = datalist_items(datalist, domain, "training")
            label = read_volume(item["label"], item["voxel_size_zyx_nm"], item["region_zyx"])
            assert float(np.mean(label.numpy())) == pytest.approx(share, abs=0.015)
            two_slices = [[0, 2], *item["region_zyx"][1:]]
            image = read_volume(item["image"], item["voxel_size_zyx_nm"], two_slices)
            assert image.shape[2:] == label.shape[2:]
    assert json.loads((tmp_path / "epfl_to_vnc.json").read_text())["provenance"]["target"]["dataset"] == "vnc"
    assert len(datalist_items(datalist, "target", "unlabelled", labelled=False)) == 1
