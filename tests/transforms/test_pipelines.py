"""The way to the network and back: which keys, which grid, what is refused."""

import numpy as np
import pytest
import torch

from crossem.errors import InputError
from crossem.io import read_volume, write_volume
from crossem.transforms import inference_postprocessing, inference_preprocessing, training_preprocessing

WORKING_VOXEL_SIZE_ZYX_NM = (40, 10, 10)
FILE_VOXEL_SIZE_ZYX_NM = (40, 5, 5)


@pytest.fixture
def item(tmp_path):
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "image.nii", rng.integers(0, 255, (1, 4, 20, 30), dtype=np.uint8), FILE_VOXEL_SIZE_ZYX_NM)
    write_volume(tmp_path / "label.nii", rng.integers(0, 2, (1, 4, 20, 30), dtype=np.uint8), FILE_VOXEL_SIZE_ZYX_NM)
    return {"image": str(tmp_path / "image.nii"), "label": str(tmp_path / "label.nii")}


def test_training_sees_image_and_label_on_the_working_grid(item):
    out = training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, num_classes=2, label_fraction=0.2)(item)
    assert out["image"].shape == out["label"].shape == out["weight"].shape == (1, 4, 10, 15)
    assert torch.equal(out["weight"][0, 0, 0], (torch.arange(15) < 3).float())
    assert out["image"].mean().item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("fraction", [0, 0.2, 1])
def test_an_item_without_a_label_needs_none(item, fraction):
    del item["label"]
    out = training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2, fraction)(item)
    assert "label" not in out and "weight" not in out


@pytest.mark.parametrize("fraction", [-0.1, 1.1, "all"])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(InputError, match=f"label_fraction is {fraction!r}: give a number, from 0 to 1"):
        training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2, fraction)


def test_several_channels_are_refused_by_name(tmp_path, item):
    colour = np.random.default_rng(0).integers(0, 255, (3, 4, 20, 30), dtype=np.uint8)
    write_volume(tmp_path / "colour.h5", colour, FILE_VOXEL_SIZE_ZYX_NM)
    for way in (
        training_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2),
        inference_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM),
    ):
        with pytest.raises(RuntimeError) as caught:  # Compose wraps it
            way({"image": str(tmp_path / "colour.h5")})
        assert isinstance(caught.value.__cause__, InputError)
        assert "colour.h5 has 3 channels, and the network takes 1" in str(caught.value.__cause__)


def test_back_on_the_files_grid_and_saved(tmp_path, item):
    way = inference_preprocessing(WORKING_VOXEL_SIZE_ZYX_NM, 2)
    data = way(item)
    assert data["image"].shape == (1, 4, 10, 15) and data["label"].shape == (1, 4, 20, 30)
    object_ = (data["image"] > 0).float()
    data["pred"] = torch.cat([1 - object_, object_]).copy_meta_from(data["image"])
    data["pred"].applied_operations = data["image"].applied_operations
    out = inference_postprocessing(way, tmp_path / "out")(data)
    (written,) = (tmp_path / "out").iterdir()
    saved = read_volume(written)
    assert saved.shape == out["pred"].shape == (1, 4, 20, 30)
    assert set(saved.unique().tolist()) == {0, 1}
    assert np.allclose(saved.affine, read_volume(item["image"]).affine)


def test_small_and_ragged_objects_are_dropped(item):
    way = inference_preprocessing(FILE_VOXEL_SIZE_ZYX_NM)
    data = way({"image": item["image"]})
    object_ = torch.zeros_like(data["image"])
    object_[:, 1:, 3:7, 20:24] = 1  # 48 voxels of 1000 nm3, and
    object_[:, 0, 2:16, 2:4] = object_[:, 0, 2:4, 2:16] = 1  # an angle of 52
    data["pred"] = torch.cat([1 - object_, object_]).copy_meta_from(data["image"])
    data["pred"].applied_operations = data["image"].applied_operations

    def kept(**options):
        return int(inference_postprocessing(way, **options)(data)["pred"].sum())

    assert kept() == 100
    assert kept(min_object_nm3=50_000) == 52
    assert kept(min_solidity=0.8) == 48
    assert kept(min_object_nm3=50_000, min_solidity=0.8) == 0
