"""The phantom: reproducible, two unlike domains, labels that agree with one another, safe to share."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from crossem import InputError
from crossem.data import phantom
from crossem.data.datalist import load_datalist
from crossem.data.phantom import BOUNDARY_CLASSES, CLASSES4, make_phantom, make_volume
from crossem.data.phantom_tissue import generate_tissue
from crossem.io import read_volume, voxel_size_zyx_nm

SPLITS = {"source": ("training", "validation"), "target": ("training", "validation", "test")}


@pytest.fixture(scope="module")
def datalist_path(tmp_path_factory) -> Path:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "small", seed=0, size="small")


def _read(datalist_path: Path, domain: str, split: str, name: str) -> np.ndarray:
    suffix = ".nii" if domain == "source" else ".ome.tif"
    return read_volume(datalist_path.parent / domain / split / f"{name}{suffix}")[0].numpy()


def test_datalist_is_valid_and_complete(datalist_path):
    datalist = load_datalist(datalist_path)
    assert datalist["classes"] == ["background", "mitochondria"]
    for domain, splits in SPLITS.items():
        assert tuple(datalist[domain]) == splits
        items = [item for split in splits for item in datalist[domain][split]]
        voxel_size = [10, 10, 10] if domain == "source" else [48, 8, 8]
        assert all("label" in item and item["voxel_size_zyx_nm"] == voxel_size for item in items)
    classes4 = load_datalist(datalist_path.with_name("datalist_classes4.json"))
    assert tuple(classes4["classes"]) == CLASSES4
    assert Path(classes4["target"]["test"][0]["label"]).name == "classes4.ome.tif"
    boundaries = load_datalist(datalist_path.with_name("datalist_boundaries.json"))
    assert tuple(boundaries["classes"]) == BOUNDARY_CLASSES
    assert Path(boundaries["target"]["test"][0]["label"]).name == "boundaries.ome.tif"


def test_every_kind_of_labels_has_its_datalist(datalist_path):
    names = {"mitochondria": "datalist.json"} | {k: f"datalist_{k}.json" for k in ("classes4", "boundaries")}
    for labels, name in names.items():
        assert make_phantom(datalist_path.parent, seed=0, size="small", labels=labels).name == name


def test_files_hold_the_voxel_size_for_other_programs(datalist_path):
    nifti = nibabel.load(datalist_path.parent / "source/training/image.nii")
    scale = {"mm": 1e6, "micron": 1e3}[nifti.header.get_xyzt_units()[0]]
    np.testing.assert_allclose(np.linalg.norm(nifti.affine[:3, :3], axis=0) * scale, 10, rtol=1e-5)
    with tifffile.TiffFile(datalist_path.parent / "target/test/image.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert file.series[0].dtype == np.uint8
    scale = {"nm": 1.0, "µm": 1e3, "um": 1e3}
    sizes = [pixels[f"PhysicalSize{a}"] * scale[pixels.get(f"PhysicalSize{a}Unit", "µm")] for a in "ZYX"]
    np.testing.assert_allclose(sizes, (48, 8, 8), rtol=1e-5)
    volume = read_volume(datalist_path.parent / "target/test/image.ome.tif")
    np.testing.assert_allclose(voxel_size_zyx_nm(volume), (48, 8, 8), rtol=1e-5)


@pytest.mark.parametrize("domain, split", [(d, s) for d in SPLITS for s in SPLITS[d]])
def test_labels_agree_with_one_another(datalist_path, domain, split):
    label, cells, ids, boundaries, classes4 = (
        _read(datalist_path, domain, split, n) for n in ("label", "instances", "mitochondria", "boundaries", "classes4")
    )
    np.testing.assert_array_equal(label, ids > 0)
    assert 0.04 < label.mean() < 0.11
    owners = {tuple(pair) for pair in np.unique(np.stack([ids[ids > 0], cells[ids > 0]]), axis=1).T}
    assert len(owners) == len(np.unique(ids)) - 1  # each mitochondrion lies in exactly one cell
    assert cells.min() > 0 and len(np.unique(cells)) > 5
    for axis in (1, 2):  # where the cell changes within a slice, both voxels are membrane
        change = np.diff(cells.astype(int), axis=axis) != 0
        for start in (0, 1):
            side = np.take(boundaries, np.arange(start, change.shape[axis] + start), axis=axis)
            assert side[change].all()
    assert not (boundaries & label).any()
    assert set(np.unique(boundaries)) == {0, 1} and 0.08 < boundaries.mean() < 0.3
    assert set(np.unique(classes4)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(classes4 == 0, boundaries > 0)
    np.testing.assert_array_equal(classes4 == 2, label > 0)


def test_image_shows_the_structures_and_the_domains_differ(datalist_path):
    membranes, greys = {}, {}
    for domain in ("source", "target"):
        image, classes4 = (_read(datalist_path, domain, "training", n) for n in ("image", "classes4"))
        assert image.dtype == np.uint8
        means = ndimage.mean(image, classes4, index=range(4))
        assert max(means[0], means[2]) < means[1]  # the cytoplasm is brightest
        membranes[domain] = means[1] - means[0]
        inside = ndimage.binary_erosion(classes4 == 2, np.ones((1, 3, 3)), iterations=2)
        greys[domain] = image[inside].std()
    assert membranes["target"] > 1.3 * membranes["source"]  # stained darker
    assert greys["target"] > 1.5 * greys["source"]  # noise and cristae


def test_target_has_one_missing_section_and_uneven_brightness(datalist_path):
    means = _read(datalist_path, "target", "training", "image").mean(axis=(1, 2))
    assert (means < 20).sum() == 1
    assert means[means > 20].std() > 2
    assert _read(datalist_path, "source", "training", "image").mean(axis=(1, 2)).std() < 6


def test_mitochondria_grow_with_their_scale():
    def width_nm(scale: float) -> float:
        tissues = (generate_tissue((40, 96, 96), (20, 20, 20), np.random.default_rng(s), scale) for s in range(2))
        depths = [ndimage.maximum(t.depth_nm, t.mitochondria, range(1, t.mitochondria.max() + 1)) for t in tissues]
        return 2 * float(np.concatenate(depths).mean())

    assert 150 < width_nm(1.0) < 0.93 * width_nm(1.3) < 500


def test_same_seed_same_volume_other_seed_another():
    first, again, other = (make_volume("target", (6, 64, 64), np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].cells, again[1].cells)
    assert (first[0] != other[0]).mean() > 0.5


def _tiny(monkeypatch) -> None:
    sizes = {"small": (phantom._Volume("source", "training", (16, 48, 48)),)}
    monkeypatch.setattr(phantom, "_SIZES", sizes)


def test_a_phantom_of_an_older_version_is_made_again(tmp_path, monkeypatch):
    _tiny(monkeypatch)
    path = make_phantom(tmp_path / "p", seed=3, size="small")
    (path.parent / "of_the_old_version").touch()
    monkeypatch.setattr(phantom, "_VERSION", phantom._VERSION + 1)
    assert make_phantom(tmp_path / "p", seed=3, size="small") == path
    assert path.is_file() and not (path.parent / "of_the_old_version").exists()


def test_phantom_is_reused_and_never_mixed(tmp_path, monkeypatch):
    _tiny(monkeypatch)
    path = make_phantom(tmp_path / "p", seed=3, size="small")
    image = path.parent / "source/training/image.nii"
    before = image.stat().st_mtime_ns
    assert make_phantom(tmp_path / "p", seed=3, size="small") == path
    assert image.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another phantom"):
        make_phantom(tmp_path / "p", seed=4, size="small")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="holds no phantom"):
        make_phantom(tmp_path / "mine", size="small")
    with pytest.raises(InputError, match="size is"):
        make_phantom(tmp_path / "q", size="huge")
    with pytest.raises(InputError, match="labels is .* mitochondria, classes4, boundaries"):
        make_phantom(tmp_path / "q", size="small", labels="nuclei")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "p"]


def test_same_seed_same_files(tmp_path, monkeypatch):
    _tiny(monkeypatch)
    first, again = (make_phantom(tmp_path / name, seed=5, size="small").parent for name in "ab")
    for file in (p for p in first.rglob("*") if p.is_file()):
        assert file.read_bytes() == (again / file.relative_to(first)).read_bytes(), file


def test_two_at_once_give_one_whole_phantom(tmp_path, monkeypatch):
    _tiny(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: make_phantom(tmp_path / "deep" / "p", size="small"), range(2)))
    assert paths[0] == paths[1] and load_datalist(paths[0])["classes"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["p"]


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    _tiny(monkeypatch)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(phantom, "write_volume", full_disk)
    with pytest.raises(OSError, match="no space"):
        make_phantom(tmp_path / "p", size="small")
    assert not any(tmp_path.iterdir())
