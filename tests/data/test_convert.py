"""Annotations to class indices, and the datalists of pairs, against arrays made here."""

import gzip
import json

import h5py
import numpy as np
import pytest
import tifffile
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries

from crossem.data.convert import bodies_from_supervoxels, convert_dataset
from crossem.data.pairs import write_pair_datalists
from crossem.data.registry import Registry
from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm

SHAPE = (3, 8, 10)
CLASSES = ["background", "thing"]
BASE = {
    "modality": "m",
    "organism": "o",
    "used_in": [],
    "licence": "free",
    "citation": "cite",
    "how_to_get": "ask",
    "base_urls": ["http://127.0.0.1:9/"],
    "file_groups": [{"role": "image", "files": {}}],
}


def _region(axis, start, stop):
    return [[start, stop] if axis == k else [None, None] for k in range(3)]


@pytest.fixture
def registry():
    left = {"shape_zyx": [3, 8, 6]}
    return Registry.model_validate(
        {
            "datasets": {
                "a": {
                    **BASE,
                    "title": "A",
                    "voxel_size_zyx_nm": [50, 5, 5],
                    "volumes": {
                        "main": {
                            "shape_zyx": SHAPE,
                            "layouts": [
                                [
                                    {
                                        "name": "main",
                                        "image": "main.tif",
                                        "annotations": {"ids": "ids", "parts": "parts"},
                                    }
                                ],
                                [
                                    {
                                        "name": "l",
                                        "image": "l.tif",
                                        "annotations": {"ids": "l_ids", "parts": "l_parts"},
                                        **left,
                                    },
                                    {
                                        "name": "r",
                                        "image": "r.tif",
                                        "origin_zyx": [0, 0, 6],
                                        "shape_zyx": [3, 8, 4],
                                    },
                                ],
                            ],
                        },
                        "extra": {
                            "shape_zyx": SHAPE,
                            "optional": True,
                            "layouts": [[{"name": "e", "image": "e.tif"}]],
                        },
                    },
                    "labels": {
                        "thing": {
                            "classes": CLASSES,
                            "annotation": "ids",
                            "convert": "foreground",
                            "expected_foreground": [0.05, 0.5],
                        },
                        "parts": {
                            "classes": ["x", "y"],
                            "annotation": "parts",
                            "convert": "values",
                            "values": {"0": 0, "32": 0, "255": 1},
                        },
                    },
                    "splits": {
                        "target": {
                            "training": [{"volume": "main", "region_zyx": _region(2, None, 4)}],
                            "validation": [{"volume": "main", "region_zyx": _region(2, 4, 6)}],
                            "test": [{"volume": "main", "region_zyx": _region(2, 6, None)}],
                            "unlabelled": [{"volume": "extra"}],
                        }
                    },
                },
                "b": {
                    **BASE,
                    "title": "B",
                    "voxel_size_zyx_nm": [10, 10, 10],
                    "volumes": {
                        "main": {
                            "shape_zyx": SHAPE,
                            "layouts": [[{"name": "main", "image": "main.tif", "annotations": {"bodies": "gt.h5.gz"}}]],
                        }
                    },
                    "labels": {
                        "edge": {
                            "classes": CLASSES,
                            "annotation": "bodies",
                            "convert": "supervoxel_boundaries",
                        },
                        "wide_edge": {
                            "classes": CLASSES,
                            "annotation": "bodies",
                            "convert": "supervoxel_boundaries",
                            "boundary_pixels": 2,
                        },
                        "bodies": {"classes": [], "annotation": "bodies", "convert": "supervoxel_bodies"},
                    },
                    "splits": {
                        "source": {
                            "training": [{"volume": "main", "region_zyx": _region(0, None, 2)}],
                            "validation": [{"volume": "main", "region_zyx": _region(0, 2, None)}],
                        }
                    },
                },
            },
            "pairs": {
                "b_to_a": {
                    "title": "B to A",
                    "classes": CLASSES,
                    "source": {"dataset": "b", "label": "edge"},
                    "target": {"dataset": "a", "label": "thing"},
                }
            },
        }
    )


def _write_a(folder, rng, layout="main"):
    """Dataset a: a whole stack, or a labelled left part of 6 columns and an unlabelled right part."""
    columns, image, prefix = (10, "main.tif", "") if layout == "main" else (6, "l.tif", "l_")
    ids = rng.choice(np.array([0, 0, 0, 7, 250], np.uint8), (3, 8, columns))
    parts = rng.choice(np.array([0, 32, 255], np.uint8), (3, 8, columns))
    for name, stack in ((f"{prefix}ids", ids), (f"{prefix}parts", parts)):
        (folder / name).mkdir(parents=True)
        for z, plane in enumerate(stack):
            tifffile.imwrite(folder / name / f"{z}.tif", plane)
    tifffile.imwrite(folder / image, ids, photometric="minisblack")
    if layout != "main":
        tifffile.imwrite(folder / "r.tif", ids[..., :4].copy(), photometric="minisblack")
    return ids, parts


def _write_b(folder, rng):
    folder.mkdir(parents=True, exist_ok=True)
    supervoxels = rng.integers(0, 6, SHAPE).astype(np.int32) * 1000
    pairs = np.array([[5000, 3], [0, 0], [1000, 1], [2000, 1], [3000, 9], [4000, 3]])
    with h5py.File(folder / "gt.h5", "w") as file:
        file["stack"], file["transforms"] = supervoxels, pairs
    (folder / "gt.h5.gz").write_bytes(gzip.compress((folder / "gt.h5").read_bytes()))
    (folder / "gt.h5").unlink()
    tifffile.imwrite(folder / "main.tif", supervoxels.astype(np.uint8), photometric="minisblack")
    return np.vectorize(dict(pairs.tolist()).get)(supervoxels)


def _label(path):
    volume = read_volume(path)
    return volume[0].numpy(), voxel_size_zyx_nm(volume)


def test_foreground_and_values(registry, tmp_path):
    ids, parts = _write_a(tmp_path / "a", np.random.default_rng(1))
    written = convert_dataset(registry.dataset("a"), tmp_path / "a")
    assert [path.name for path in written] == ["main_thing.ome.tif", "main_parts.ome.tif"]
    thing, size = _label(tmp_path / "a/crossem/main_thing.ome.tif")
    np.testing.assert_array_equal(thing, (ids > 0))
    assert thing.dtype == np.uint8 and size == pytest.approx((50, 5, 5))
    np.testing.assert_array_equal(_label(tmp_path / "a/crossem/main_parts.ome.tif")[0], parts == 255)


def test_converted_again_only_when_the_annotation_is_newer(registry, tmp_path):
    _write_a(tmp_path / "a", np.random.default_rng(1))
    output = convert_dataset(registry.dataset("a"), tmp_path / "a")[0]
    before = output.stat().st_mtime_ns
    convert_dataset(registry.dataset("a"), tmp_path / "a")
    assert output.stat().st_mtime_ns == before
    changed = np.tile(np.array([0, 0, 1, 0, 0], np.uint8), (8, 2))
    tifffile.imwrite(tmp_path / "a/ids/1.tif", changed)
    convert_dataset(registry.dataset("a"), tmp_path / "a")
    np.testing.assert_array_equal(_label(output)[0][1], changed)


def test_bodies_and_boundaries(registry, tmp_path):
    bodies = _write_b(tmp_path / "b", np.random.default_rng(2))
    convert_dataset(registry.dataset("b"), tmp_path / "b")
    np.testing.assert_array_equal(_label(tmp_path / "b/crossem/main_bodies.ome.tif")[0], bodies)
    expected = np.stack([find_boundaries(plane, mode="thick") for plane in bodies])
    edge, size = _label(tmp_path / "b/crossem/main_edge.ome.tif")
    np.testing.assert_array_equal(edge, expected)
    assert size == pytest.approx((10, 10, 10))
    wide = _label(tmp_path / "b/crossem/main_wide_edge.ome.tif")[0]
    np.testing.assert_array_equal(wide, [binary_dilation(plane) for plane in expected])


def test_supervoxel_without_body():
    with pytest.raises(InputError, match="1 supervoxels have no neuron body .first: 4"):
        bodies_from_supervoxels(np.array([0, 1, 4]), np.array([[1, 2], [5, 2]]))


def test_inverted_annotation_is_refused(registry, tmp_path):
    _write_a(tmp_path / "a", np.random.default_rng(1))
    for z in range(3):
        tifffile.imwrite(tmp_path / f"a/ids/{z}.tif", np.ones((8, 10), np.uint8))
    with pytest.raises(InputError, match="100.0% of the voxels are 'thing', expected 5% to 50%"):
        convert_dataset(registry.dataset("a"), tmp_path / "a")


def test_unknown_value_wrong_shape_and_damage_are_refused(registry, tmp_path):
    _write_a(tmp_path / "a", np.random.default_rng(1))
    tifffile.imwrite(tmp_path / "a/parts/0.tif", np.full((8, 10), 31, np.uint8))
    with pytest.raises(InputError, match="31"):
        convert_dataset(registry.dataset("a"), tmp_path / "a")
    (tmp_path / "a/parts/0.tif").unlink()
    with pytest.raises(InputError, match=r"shape \(2, 8, 10\) .z, y, x., expected \(3, 8, 10\)"):
        convert_dataset(registry.dataset("a"), tmp_path / "a")
    _write_b(tmp_path / "b", np.random.default_rng(2))
    archive = tmp_path / "b/gt.h5.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole gzip file"):
        convert_dataset(registry.dataset("b"), tmp_path / "b")


@pytest.mark.parametrize("layout", ["main", "halves"])
def test_datalist_has_the_same_voxels_in_either_layout(registry, tmp_path, layout):
    ids, _ = _write_a(tmp_path / "a", np.random.default_rng(1), layout)
    _write_b(tmp_path / "b", np.random.default_rng(2))
    for name in ("a", "b"):
        convert_dataset(registry.dataset(name), tmp_path / name)
    assert write_pair_datalists(registry, tmp_path) == [tmp_path / "b_to_a.json"]
    datalist = json.loads((tmp_path / "b_to_a.json").read_text())
    assert datalist["classes"] == CLASSES and datalist["provenance"]["target"]["licence"] == "free"
    assert set(datalist["target"]) == {"training", "validation", "test"}  # the optional volume is not there
    for split, columns in (("training", slice(0, 4)), ("validation", slice(4, 6))):
        (item,) = datalist["target"][split]
        for key, expected in (("image", ids), ("label", ids > 0)):
            volume = read_volume(tmp_path / item[key], item["voxel_size_zyx_nm"], item["region_zyx"])
            np.testing.assert_array_equal(volume[0].numpy(), expected[..., columns])
    (test,) = datalist["target"]["test"]
    assert ("label" in test) == (layout == "main")
    volume = read_volume(tmp_path / test["image"], test["voxel_size_zyx_nm"], test.get("region_zyx"))
    assert tuple(volume.shape) == (1, 3, 8, 4)
    assert datalist["source"]["validation"][0]["region_zyx"] == [[2, None], [None, None], [None, None]]


def test_no_datalist_while_a_dataset_is_missing(registry, tmp_path):
    _write_b(tmp_path / "b", np.random.default_rng(2))
    assert write_pair_datalists(registry, tmp_path) == []
