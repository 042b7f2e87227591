"""What every format has to do: data, voxel size and affine come back; damage and missing sizes are told."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.io import make_affine, read_header, read_volume, voxel_size_zyx_nm, write_volume

SIZE = (47.5, 4.6, 4.123)
NAMES = [
    "v.nii",
    "v.nii.gz",
    "v.mrc",
    "v.rec",
    "v.map",
    "v.nrrd",
    "v.mha",
    "v.tif",
    "v.tiff",
    "v.ome.tif",
    "v.h5",
    "v.h5:/a/b",
    "v.zarr",
    "v.ome.zarr",
]
DAMAGEABLE = [name for name in NAMES if "zarr" not in name and ":/" not in name]


def _data(dtype="uint8", shape=(1, 5, 70, 9)):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def _volume(dtype="uint8", origin=(0, 0, 0), shape=(1, 5, 70, 9)):
    return MetaTensor(torch.from_numpy(_data(dtype, shape)), affine=make_affine(SIZE, origin))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_data_type_size_and_affine_come_back_exactly(tmp_path, name, dtype):
    volume = _volume(dtype)
    write_volume(tmp_path / name, volume)
    back = read_volume(f"{tmp_path}/{name}")
    assert back.dtype == volume.dtype
    assert np.array_equal(back.numpy(), volume.numpy())
    assert voxel_size_zyx_nm(back) == SIZE
    assert torch.equal(back.affine, volume.affine)
    write_volume(tmp_path / "again" / name, back)
    assert torch.equal(read_volume(f"{tmp_path}/again/{name}").affine, volume.affine)


@pytest.mark.parametrize("name", ["v.nii.gz", "v.mrc", "v.nrrd", "v.mha", "v.h5", "v.zarr"])
def test_origin_comes_back(tmp_path, name):
    volume = _volume(origin=(100.0, -250.5, 3000.0))
    write_volume(tmp_path / name, volume)
    assert torch.equal(read_volume(tmp_path / name).affine, volume.affine)


@pytest.mark.parametrize("name", NAMES)
def test_region_is_the_crop_and_moves_the_origin(tmp_path, name):
    write_volume(tmp_path / name, _volume())
    part = read_volume(f"{tmp_path}/{name}", region_zyx=[[1, 4], [None, -3], [2, 7]])
    assert np.array_equal(part.numpy(), _data()[:, 1:4, :-3, 2:7])
    assert part.affine[:3, 3].tolist() == pytest.approx([2 * 4.123, 0, 47.5])


@pytest.mark.parametrize("name", ["v.nii", "v.nrrd", "v.mha", "v.h5"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_flips_rotation_and_axis_order_survive(tmp_path, name, axes):
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ make_affine(SIZE).numpy()[:3, :3] * [1, -1, 1]
    affine[:3, 3] = 10, 20, 30
    file_axes = "".join("zyx"[k] for k in axes)
    volume = MetaTensor(torch.from_numpy(_data()), affine=torch.from_numpy(affine), meta={"file_axes": file_axes})
    write_volume(tmp_path / name, volume)
    back = read_volume(tmp_path / name)
    assert np.array_equal(back.numpy(), _data())
    assert np.allclose(back.affine, affine, rtol=1e-6, atol=1e-4)
    write_volume(tmp_path / f"2{name}", back)
    first, second = read_header(tmp_path / name), read_header(tmp_path / f"2{name}")
    assert first.shape == second.shape
    assert np.allclose(first.affine, second.affine, rtol=1e-12)
    if name != "v.h5":
        assert first.shape[1:] == tuple(_data().shape[1 + k] for k in axes)


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.mrc", "v.zarr"])
def test_a_lost_flip_is_told(tmp_path, name):
    volume = _volume()
    volume.affine = volume.affine @ torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))
    with pytest.warns(UserWarning, match="cannot store the volume's flip"):
        write_volume(tmp_path / name, volume)


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.h5", "v.zarr"])
def test_channels_come_back(tmp_path, name):
    volume = _volume("float32", shape=(3, 5, 6, 7))
    write_volume(tmp_path / name, volume)
    assert np.array_equal(read_volume(tmp_path / name).numpy(), volume.numpy())
    part = read_volume(tmp_path / name, region_zyx=[[1, 3], [0, 2], [None, None]])
    assert np.array_equal(part.numpy(), volume.numpy()[:, 1:3, :2])


@pytest.mark.parametrize("name", ["v.nii", "v.mrc", "v.nrrd", "v.mha"])
def test_channels_that_do_not_fit_are_told(tmp_path, name):
    with pytest.raises(InputError, match="3 channels do not fit"):
        write_volume(tmp_path / name, _volume(shape=(3, 5, 6, 7)))


@pytest.mark.parametrize("name", ["v.mrc", "v.nrrd", "v.mha", "v.tif"])
def test_types_that_do_not_fit_are_told(tmp_path, name):
    with pytest.raises(InputError, match="cannot hold int64; convert to one of uint8"):
        write_volume(tmp_path / name, _volume("int64"))


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("name", DAMAGEABLE)
def test_empty_and_truncated_files_are_told(tmp_path, name, keep):
    write_volume(tmp_path / name, _volume(shape=(1, 5, 70, 90)))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match="empty|truncated|damaged") as error:
        read_volume(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_damaged_zarr_is_told(tmp_path):
    write_volume(tmp_path / "v.zarr", _volume())
    chunk = next(p for p in (tmp_path / "v.zarr" / "0").rglob("*") if p.is_file() and not p.name.startswith("."))
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(InputError, match="v.zarr.*truncated or damaged"):
        read_volume(tmp_path / "v.zarr")
    (tmp_path / "v.zarr" / ".zattrs").write_text('{"multisc')
    with pytest.raises(InputError, match="v.zarr"):
        read_volume(tmp_path / "v.zarr")
    shutil.rmtree(tmp_path / "v.zarr")
    (tmp_path / "v.zarr").mkdir()
    with pytest.raises(InputError, match="v.zarr.*empty"):
        read_volume(tmp_path / "v.zarr")


@pytest.mark.parametrize("name", NAMES)
def test_explicit_size_wins_with_a_warning(tmp_path, name):
    write_volume(tmp_path / name, _volume(origin=(0, 0, 0)))
    with pytest.warns(UserWarning, match=r"a voxel of \(47.5, 4.6, 4.123\).*\(30, 3, 3\) was given"):
        volume = read_volume(f"{tmp_path}/{name}", voxel_size_zyx_nm=(30, 3, 3))
    assert voxel_size_zyx_nm(volume) == pytest.approx((30, 3, 3))


def test_an_explicit_size_within_one_percent_changes_nothing(tmp_path):
    write_volume(tmp_path / "v.tif", _volume())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(tmp_path / "v.tif", voxel_size_zyx_nm=(47.2, 4.6, 4.12))
    assert voxel_size_zyx_nm(volume) == SIZE
