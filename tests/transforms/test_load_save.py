import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, decollate_batch, list_data_collate
from PIL import Image

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume
from crossem.transforms.load_save import LoadVolumed, SaveVolumed

RNG = np.random.default_rng(0)
DATA = RNG.integers(0, 250, (1, 4, 5, 6)).astype(np.uint8)
LABEL = RNG.integers(0, 2, (1, 4, 5, 6)).astype(np.uint8)
SIZE = (40, 5, 4)


@pytest.fixture()
def item(tmp_path):
    return {
        "image": str(write_volume(tmp_path / "image.tif", DATA, SIZE)),
        "label": str(write_volume(tmp_path / "label.nii.gz", LABEL, SIZE)),
    }


def _slices(folder, data):
    folder.mkdir(parents=True)
    for k, section in enumerate(data[0]):
        Image.fromarray(section).save(folder / f"{k}.png")
    return str(folder)


def test_image_and_label(item):
    loaded = LoadVolumed(["image", "label"], num_classes=2)(item)
    assert np.array_equal(loaded["image"].numpy(), DATA) and np.array_equal(loaded["label"].numpy(), LABEL)
    assert loaded["label"].dtype == torch.uint8 and voxel_size_zyx_nm(loaded["label"]) == SIZE
    assert isinstance(item["image"], str)


def test_size_and_region_of_the_item(tmp_path):
    item = {
        "image": _slices(tmp_path / "raw", DATA),
        "label": _slices(tmp_path / "seg", LABEL),
        "voxel_size_zyx_nm": [50, 5, 5],
        "region_zyx": [[1, None], [None, None], [None, -2]],
    }
    load = LoadVolumed(["image", "label"], voxel_size_zyx_nm=[9, 9, 9])
    loaded = load(item)
    assert voxel_size_zyx_nm(loaded["image"]) == (50, 5, 5)
    assert np.array_equal(loaded["label"].numpy(), LABEL[:, 1:, :, :-2])
    assert loaded["region_zyx"] == [[1, 4], [0, 5], [0, 4]]
    batch = next(iter(DataLoader(Dataset([item, item], load), batch_size=2)))
    assert batch["image"].shape == (2, 1, 3, 5, 4)
    del item["voxel_size_zyx_nm"]
    assert voxel_size_zyx_nm(load(item)["image"]) == (9, 9, 9)


def test_a_label_takes_the_images_size(tmp_path, item):
    item["label"] = _slices(tmp_path / "seg", LABEL)
    assert voxel_size_zyx_nm(LoadVolumed(["image", "label"])(item)["label"]) == SIZE
    item["label"] = str(write_volume(tmp_path / "other.tif", LABEL, (30, 3, 3)))
    with pytest.warns(UserWarning, match="other.tif: voxel size .* differs from that of .*image.tif"):
        loaded = LoadVolumed(["image", "label"])(item)
    assert torch.equal(loaded["label"].affine, loaded["image"].affine)


def test_missing_keys(item):
    del item["label"]
    assert "label" not in LoadVolumed(["image", "label"], allow_missing_keys=True)(item)
    with pytest.raises(KeyError):
        LoadVolumed(["image", "label"])(item)
    with pytest.raises(InputError, match="'image' of a datalist item is int"):
        LoadVolumed("image")({"image": 3})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_voxels_are_counted_and_placed(tmp_path, value):
    data = DATA.astype(np.float32)
    data[0, 2, 3, 4] = data[0, 3, 0, 0] = value
    path = write_volume(tmp_path / "v.nii", data, SIZE)
    with pytest.raises(InputError, match=r"v.nii: 2 voxels are NaN or infinite, .* = \(2, 3, 4\)"):
        LoadVolumed("image")({"image": path})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_image(tmp_path, dtype):
    path = write_volume(tmp_path / "v.tif", np.full_like(DATA, 7, dtype=dtype), SIZE)
    with pytest.raises(InputError, match="v.tif: all voxels are 7"):
        LoadVolumed("image")({"image": path})
    LoadVolumed("label")({"label": path})


def test_shapes_have_to_agree(tmp_path, item):
    item["label"] = str(write_volume(tmp_path / "short.tif", LABEL[:, :3], SIZE))
    with pytest.raises(InputError, match=r"image.tif is \(4, 5, 6\).*short.tif is \(3, 5, 6\)"):
        LoadVolumed(["image", "label"])(item)


@pytest.mark.parametrize(
    ("dtype", "value", "num_classes", "message"),
    [
        ("uint8", 255, 2, r"label values 255 are no classes; allowed are 0\.\.1"),
        ("int16", -1, 2, "label values -1 are no classes"),
        ("float32", 0.5, 2, "label values 0.5 are no classes"),
        ("float32", 0.5, None, "label values 0.5 .* allowed are whole numbers from 0"),
        ("float32", np.nan, 2, "label values nan are no classes"),
        ("uint16", 300, 2, "label values 300"),
    ],
)
def test_label_values(tmp_path, item, dtype, value, num_classes, message):
    label = LABEL.astype(dtype)
    label[0, 0, 0, 0] = value
    item["label"] = str(write_volume(tmp_path / "bad.nii", label, SIZE))
    with pytest.raises(InputError, match=f"bad.nii: {message}"):
        LoadVolumed(["image", "label"], num_classes=num_classes)(item)


@pytest.mark.parametrize(
    ("dtype", "top", "loaded"),
    [
        ("int32", 255, "uint8"),
        ("float32", 3, "uint8"),
        ("uint16", 3, "uint8"),
        ("uint16", 300, "uint16"),
    ],
)
def test_labels_become_uint8_if_they_fit(tmp_path, dtype, top, loaded):
    label = LABEL.astype(dtype)
    label[0, 0, 0, 0] = top
    path = write_volume(tmp_path / "label.nii", label, SIZE)
    out = LoadVolumed("label")({"label": path})["label"].numpy()
    assert out.dtype == loaded and np.array_equal(out, label)


def _predicted(path, load_size=None):
    image = LoadVolumed("image", voxel_size_zyx_nm=load_size)({"image": str(path)})["image"]
    return {"pred": (image > 100).to(torch.float32)}


@pytest.mark.parametrize(
    ("name", "written"),
    [("v.nii.gz", "v_seg.nii.gz"),
        ("v.ome.tif", "v_seg.ome.tif"),
        ("v.mrc", "v_seg.mrc"),
        ("v.mha", "v_seg.mha"),
     ("v.nrrd", "v_seg.nrrd"), ("v.h5", "v_seg.h5"), ("v.h5:/a/b", "v_a_b_seg.h5"), ("v.zarr", "v_seg.zarr")],
)  # fmt: skip
def test_saved_in_the_inputs_format_and_grid(tmp_path, name, written):
    write_volume(tmp_path / "in" / name, DATA, SIZE)
    item = SaveVolumed("pred", tmp_path / "out")(_predicted(f"{tmp_path}/in/{name}"))
    assert item["pred"].meta["saved_to"] == str(tmp_path / "out" / written)
    back = read_volume(item["pred"].meta["saved_to"])
    assert np.array_equal(back.numpy(), DATA > 100) and back.dtype == torch.uint8
    assert torch.equal(back.affine, read_volume(f"{tmp_path}/in/{name}").affine)


def test_slice_folders_become_tif_and_equal_names_are_told_apart(tmp_path):
    sources = [_slices(tmp_path / name / "raw", DATA) for name in ("stack1", "stack2")]
    save = SaveVolumed("pred", tmp_path / "out")
    for _ in range(2):
        for source in sources:
            save(_predicted(source, SIZE))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["stack1_raw_seg.tif", "stack2_raw_seg.tif"]
    save(_predicted(_slices(tmp_path / "more" / "stack2" / "raw", DATA), SIZE))  # one step further up
    third = _slices(tmp_path / "others" / "stack2" / "raw", DATA)
    with pytest.raises(InputError, match="is already that of .*stack2.*; rename one input"):
        save(_predicted(third, SIZE))
    assert voxel_size_zyx_nm(read_volume(tmp_path / "out" / "stack1_raw_seg.tif")) == SIZE


def test_orientation_and_axis_order_of_the_input(tmp_path):
    image = nib.Nifti1Image(DATA[0].T, np.diag([4e-6, 5e-6, 40e-6, 1]))
    image.header.set_xyzt_units("mm")
    nib.save(image.as_reoriented(nib.orientations.axcodes2ornt("SLP")), tmp_path / "v.nii.gz")
    item = SaveVolumed("pred", tmp_path / "out")(_predicted(tmp_path / "v.nii.gz"))
    before, after = nib.load(tmp_path / "v.nii.gz"), nib.load(item["pred"].meta["saved_to"])
    assert np.array_equal(before.affine, after.affine)
    assert np.array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj) > 100)


def test_saving_after_a_batch(tmp_path, item):
    batch = list_data_collate([LoadVolumed("image")(item)] * 1)
    (single,) = decollate_batch(batch)
    saved = SaveVolumed("image", tmp_path / "out", output_postfix="", output_ext=".nii.gz")(single)
    assert np.array_equal(nib.load(saved["image"].meta["saved_to"]).get_fdata(), DATA[0].T)


def test_what_cannot_be_saved(tmp_path, item):
    with pytest.raises(InputError, match="output_ext is '.jpg'"):
        SaveVolumed("pred", tmp_path, output_ext=".jpg")
    with pytest.raises(InputError, match="output folder cannot be written"):
        SaveVolumed("pred", f"{item['image']}/out")
    save = SaveVolumed("pred", tmp_path / "out")
    pred = _predicted(item["image"])["pred"]
    with pytest.raises(InputError, match="from 0 to 300 do not fit uint8"):
        save({"pred": pred * 300})
    with pytest.raises(InputError, match="fractions cannot be saved as uint8"):
        save({"pred": pred * 0.5})
    with pytest.raises(InputError, match="has no file name"):
        save({"pred": pred.as_tensor()})
    with pytest.raises(InputError, match="would replace the input"):
        SaveVolumed("pred", tmp_path, output_postfix="")({"pred": pred})
    saved = SaveVolumed("pred", tmp_path / "out", dtype="float32", output_postfix="prob")({"pred": pred * 0.5})
    assert np.array_equal(read_volume(saved["pred"].meta["saved_to"]).numpy(), (pred * 0.5).numpy())


def test_a_label_mirrored_against_its_image_is_refused(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    for name, sign in (("image", 1), ("label", -1)):
        nifti = nib.Nifti1Image(array % 2 if name == "label" else array, np.diag([sign * 0.005, 0.005, 0.05, 1]))
        nifti.header.set_xyzt_units("micron")
        nib.save(nifti, tmp_path / f"{name}.nii")
    item = {name: str(tmp_path / f"{name}.nii") for name in ("image", "label")}
    with pytest.raises(InputError, match=r"label\.nii is flipped or rotated against .*image\.nii"):
        LoadVolumed(["image", "label"])(item)
