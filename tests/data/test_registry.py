"""The shipped datasets.json is complete and honest, and a wrong one is refused in one line."""

import copy
import json
import re
from pathlib import Path

import pytest

from crossem.data.registry import load_registry
from crossem.errors import InputError

REGISTRY = Path(__file__).resolve().parents[2] / "datasets.json"


@pytest.fixture(scope="module")
def registry():
    return load_registry(REGISTRY)


@pytest.fixture
def content():
    return json.loads(REGISTRY.read_text())


def _refused(tmp_path, content):
    path = tmp_path / "datasets.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_registry(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_every_dataset_of_the_papers_is_there(registry):
    papers = {paper for dataset in registry.datasets.values() for paper in dataset.used_in}
    assert {"roels2019", "roy", "aalto2022", "liu_zhu", "literature_review"} <= papers
    for dataset in registry.datasets.values():
        assert dataset.licence and dataset.citation and dataset.how_to_get


@pytest.mark.parametrize("name, files, total", [("vnc", 120, 44086130), ("fibsem_medulla", 251, 14826146)])
def test_files_from_github_are_pinned_and_have_checksums(registry, name, files, total):
    dataset = registry.dataset(name)
    assert len(dataset.files) == files and dataset.known_bytes == total
    assert len({file.sha256 for file in dataset.files}) > files * 0.9
    for file in dataset.files:
        assert len(file.urls) == 2 and all(re.search(r"[/@][0-9a-f]{40}/", url) for url in file.urls)


def test_urls_put_the_remote_folder_before_the_path(registry):
    file = registry.dataset("fibsem_medulla").files[0]
    assert file.path == "grayscale_maps/iso.2600.png"
    assert file.urls[0].endswith(
        "ce839e17deaf4c01153827c6d028dfecfbb4b958/training_sample2/grayscale_maps/iso.2600.png"
    )


def test_epfl_publishes_no_checksum(registry):
    dataset = registry.dataset("epfl_hippocampus")
    assert dataset.known_bytes is None and all(file.sha256 is None for file in dataset.files)


def test_layouts_of_a_volume_tile_it(registry):
    for volume in registry.dataset("vnc").volumes.values():
        for layout in volume.layouts:
            columns = sum((part.shape_zyx or volume.shape_zyx)[2] for part in layout)
            assert columns == volume.shape_zyx[2]


def test_unknown_dataset_names_the_nearest(registry):
    with pytest.raises(InputError, match="'fibsem_medula'; did you mean 'fibsem_medulla'"):
        registry.dataset("fibsem_medula")


def test_unknown_key_names_the_nearest(tmp_path, content):
    content["datasets"]["vnc"]["licens"] = "?"
    assert "unknown key 'datasets.vnc.licens'; did you mean 'licence'?" in _refused(tmp_path, content)


def test_missing_key(tmp_path, content):
    del content["datasets"]["vnc"]["citation"]
    assert "key 'datasets.vnc.citation' is missing" in _refused(tmp_path, content)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda c: c["datasets"]["vnc"].update(voxel_size_zyx_nm=[47.5, 4.6, 0]), "greater than 0"),
        (lambda c: c["pairs"]["epfl_to_vnc"]["target"].update(dataset="vcn"), "names vcn/mitochondria"),
        (lambda c: c["pairs"]["epfl_to_vnc"].update(classes=["a", "b"]), "differ in classes"),
        (
            lambda c: c["datasets"]["vnc"]["splits"]["source"].update(training=[{"volume": "stack3"}]),
            "'stack3'",
        ),
        (
            lambda c: c["datasets"]["vnc"]["file_groups"][0]["files"].update(x=[1, "abc"]),
            "should match pattern",
        ),
        (lambda c: c["datasets"]["vnc"].update(base_urls=[]), "needs base_urls"),
        (
            lambda c: c["datasets"]["vnc"]["labels"]["mitochondria"].update(boundary_pixels=2),
            "boundary_pixels is for convert 'supervoxel_boundaries'; here that is 'foreground'",
        ),
    ],
)
def test_wrong_values(tmp_path, content, change, expected):
    changed = copy.deepcopy(content)
    change(changed)
    assert expected in _refused(tmp_path, changed)


def test_no_json(tmp_path):
    path = tmp_path / "datasets.json"
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_registry(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_registry(tmp_path / "absent.json")
