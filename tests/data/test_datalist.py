"""Datalists: what is read, and that everything wrong with one is told in one line."""

import copy
import json

import numpy as np
import pytest

from crossem.data.datalist import datalist_items, expand_z_phases, load_datalist, target_items, validation_domain
from crossem.errors import InputError
from crossem.io import write_volume

ITEM = {
    "image": "vnc/raw",
    "label": "vnc/label.ome.tif",
    "voxel_size_zyx_nm": [47.5, 4.6, 4.6],
    "region_zyx": [[None, None], [0, -4], [457, None]],
}
CONTENT = {
    "name": "a_to_b",
    "classes": ["background", "mitochondria"],
    "source": {"training": [{"image": "epfl/training.tif", "label": "epfl/gt.h5:/labels/mito"}]},
    "target": {"training": [ITEM], "test": [{"image": "vnc/raw"}]},
}


@pytest.fixture
def folder(tmp_path):
    for path in ("vnc/raw/00.tif", "vnc/label.ome.tif", "epfl/training.tif", "epfl/gt.h5"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def _load(folder, content):
    path = folder / "pair.json"
    path.write_text(json.dumps(content))
    return load_datalist(path)


def _refused(folder, change):
    content = copy.deepcopy(CONTENT)
    change(content)
    with pytest.raises(InputError) as caught:
        _load(folder, content)
    assert "\n" not in str(caught.value) and str(folder / "pair.json") in str(caught.value)
    return str(caught.value)


def test_load_makes_paths_absolute_and_keeps_the_rest(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    datalist = _load(folder, CONTENT)
    assert datalist["classes"] == CONTENT["classes"] and datalist["name"] == "a_to_b"
    assert datalist["source"]["training"] == [
        {"image": str(folder / "epfl/training.tif"), "label": f"{folder}/epfl/gt.h5:/labels/mito"}
    ]
    assert datalist["target"]["training"] == [
        {**ITEM, "image": str(folder / "vnc/raw"), "label": str(folder / "vnc/label.ome.tif")}
    ]
    assert load_datalist(f"{folder.name}/pair.json") == datalist


def test_name_is_the_file_name_without_one(folder):
    assert _load(folder, {key: value for key, value in CONTENT.items() if key != "name"})["name"] == "pair"


def test_missing_datalist_names_the_nearest(folder):
    _load(folder, CONTENT)
    with pytest.raises(InputError, match="pairs.json does not exist; did you mean 'pair.json'"):
        load_datalist(folder / "pairs.json")
    with pytest.raises(InputError, match="there is no 'dat' in"):
        load_datalist(folder / "dat" / "pair.json")


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda c: c.pop("classes"), "key 'classes' is missing"),
        (lambda c: c.update(clases=1), "unknown key 'clases'; did you mean 'classes'?"),
        (lambda c: c["target"].update(train=[]), "unknown key 'target.train'; did you mean 'training'?"),
        (lambda c: c["target"].update(training=[]), "'target.training' has too few entries: give at least 1"),
        (
            lambda c: c["target"]["training"][0].update(lable="x"),
            "unknown key 'target.training[0].lable'; did you mean 'label'?",
        ),
        (
            lambda c: c["target"]["training"][0].update(zzz="x"),
            "unknown key 'target.training[0].zzz'; known keys: image",
        ),
        (lambda c: c["target"]["training"][0].pop("image"), "key 'target.training[0].image' is missing"),
        (
            lambda c: c["target"]["training"][0].update(voxel_size_zyx_nm=[5, 5]),
            "voxel_size_zyx_nm[2]' is missing",
        ),
        (lambda c: c["target"]["training"][0].update(voxel_size_zyx_nm=[-5, 5, 5]), "greater than 0"),
        (
            lambda c: c["target"]["training"][0].update(region_zyx=[[0, 5], [0, 5]]),
            "region_zyx[2]' is missing",
        ),
        (
            lambda c: c["target"]["training"][0].update(region_zyx=[[5, 5], [0, 5], [0, 5]]),
            "start 5 is not below stop 5",
        ),
        (lambda c: c["target"]["training"][0].update(region_zyx=[[0.5, 5], [0, 5], [0, 5]]), "valid integer"),
        (
            lambda c: c["target"]["training"][0].update(image="vnc/row"),
            "vnc/row does not exist; did you mean 'raw'?",
        ),
        (
            lambda c: c["target"]["training"][0].update(image="vcn/raw"),
            "vcn/raw does not exist (there is no 'vcn' in",
        ),
        (
            lambda c: c["source"]["training"][0].update(label="epfl/gth5.h5:/labels"),
            "epfl/gth5.h5 does not exist",
        ),
        (
            lambda c: (
                c["target"]["training"][0].update(image="a.tif"),
                c["target"]["test"][0].update(image="b.tif"),
            ),
            "a.tif does not exist and 1 more",
        ),
        (lambda c: (c.pop("source"), c.pop("target")), "names no volumes"),
    ],
)
def test_everything_wrong_is_one_line(folder, change, expected):
    assert expected in _refused(folder, change)


def test_no_json(folder):
    (folder / "pair.json").write_text("{'a': 1}")
    with pytest.raises(InputError, match="not valid JSON"):
        load_datalist(folder / "pair.json")


def test_items_of_a_split(folder):
    datalist = _load(folder, CONTENT)
    items = datalist_items(datalist, "target", "training")
    assert items == datalist["target"]["training"]
    items[0]["image"] = "changed"
    assert datalist["target"]["training"][0]["image"] != "changed"


def test_unlabelled_items_hide_the_labels(folder):
    datalist = _load(folder, CONTENT)
    (item,) = datalist_items(datalist, "target", "training", labelled=False)
    assert set(item) == {"image", "voxel_size_zyx_nm", "region_zyx"}
    assert "label" in datalist["target"]["training"][0]


def test_missing_split_and_missing_label(folder):
    datalist = _load(folder, CONTENT)
    with pytest.raises(InputError, match="no items in source.validation; it has source.training, target.training"):
        datalist_items(datalist, "source", "validation")
    with pytest.raises(InputError, match=r"1 of 1 items in target.test have no label \(first: .*vnc/raw"):
        datalist_items(datalist, "target", "test")


def test_target_items_have_labels_only_where_a_fraction_is_used(folder):
    datalist = _load(folder, CONTENT)
    assert "label" not in target_items(datalist, 0)[0] and "label" in target_items(datalist, 0.15)[0]
    del datalist["target"]["training"][0]["label"]
    assert "label" not in target_items(datalist, 0)[0]
    with pytest.raises(InputError, match="label_fraction is 0.15, give 0 to use no target labels: .*have no label"):
        target_items(datalist, 0.15)
    del datalist["target"]["training"]
    with pytest.raises(InputError, match="^datalist a_to_b has no items in target.training"):
        target_items(datalist, 0)


def test_target_items_with_the_unlabelled_ones_where_no_labels_are_used(folder):
    content = copy.deepcopy(CONTENT)
    content["target"]["unlabelled"] = [{"image": "vnc/raw", "label": "vnc/label.ome.tif"}]
    datalist = _load(folder, content)
    training, further = target_items(datalist, 0, unlabelled=True)
    assert [training] == target_items(datalist, 0)
    assert further == {"image": str(folder / "vnc/raw")}  # whatever stands there, labels stay unseen
    assert target_items(datalist, 0.15, unlabelled=True) == target_items(datalist, 0.15)
    del datalist["target"]["unlabelled"]
    assert target_items(datalist, 0, unlabelled=True) == [training]


def test_validation_is_on_the_target_where_it_has_labels(folder):
    datalist = _load(folder, CONTENT)
    assert validation_domain(datalist) == "source"
    datalist["target"]["validation"] = [{"image": "a", "label": "b"}]
    assert validation_domain(datalist) == "target"
    datalist["target"]["validation"].append({"image": "c"})
    assert validation_domain(datalist) == "source"


def _starts(items):
    return [item["region_zyx"][0][0] if "region_zyx" in item else None for item in items]


@pytest.mark.parametrize(
    "working_nm, phases, starts",
    [
        (45, 3, [None, 3, 6]),  # ratio 9
        (45, 9, [None, 1, 2, 3, 4, 5, 6, 7, 8]),
        (45, 1, [None]),
        (9, 4, [None]),  # ratio 1.8: no shift
        (12.5, 4, [None, 1, 2]),  # ratio 2.5: 0, 0.6, 1.2, 1.9; equal starts once
    ],
)
def test_z_phases(working_nm, phases, starts):
    item = {"image": "a.tif", "voxel_size_zyx_nm": [5, 5, 5]}
    expanded = expand_z_phases([item], phases, working_nm)
    assert _starts(expanded) == starts
    assert all(other["image"] == "a.tif" for other in expanded) and "region_zyx" not in item


def test_z_phases_shift_the_given_region():
    item = {"image": "a", "voxel_size_zyx_nm": [5, 5, 5], "region_zyx": [[10, 50], [None, None], [None, 820]]}
    expanded = expand_z_phases([item], 2, 45)
    assert [i["region_zyx"] for i in expanded] == [item["region_zyx"], [[14, 50], [None, None], [None, 820]]]
    from_end = expand_z_phases([{**item, "region_zyx": [[-30, None], [None, None], [None, None]]}], 2, 45)
    assert _starts(from_end) == [-30, -26]


def test_z_phases_take_the_voxel_size_from_the_file(tmp_path):
    write_volume(tmp_path / "a.nii", np.zeros((1, 20, 4, 4), np.uint8), (5, 4, 4))
    assert _starts(expand_z_phases([{"image": str(tmp_path / "a.nii")}], 3, 45)) == [None, 3, 6]


@pytest.mark.parametrize(
    "item, phases, expected",
    [
        ({"image": "a", "voxel_size_zyx_nm": [5, 5, 5]}, 0, "z phases is 0"),
        (
            {
                "image": "a",
                "voxel_size_zyx_nm": [5, 5, 5],
                "region_zyx": [[0, 3], [None, None], [None, None]],
            },
            2,
            "too short",
        ),
        (
            {
                "image": "a",
                "voxel_size_zyx_nm": [5, 5, 5],
                "region_zyx": [[-3, None], [None, None], [None, None]],
            },
            2,
            "too short",
        ),
    ],
)
def test_z_phases_refused(item, phases, expected):
    with pytest.raises(InputError, match=expected):
        expand_z_phases([item], phases, 45)
