import numpy as np
import pytest
import zarr

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)


def _image(path, array, axes, scale, version="0.5", unit="micrometer", shift=None):
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("s0", data=array)
    group.create_array("s1", data=array[..., ::2, ::2])
    named = [{"name": a, "type": "space" if a in "zyx" else "other"} for a in axes]
    for axis in named:
        if axis["name"] in "zyx" and unit:
            axis["unit"] = unit
    transforms = [{"type": "scale", "scale": scale}]
    if shift:
        transforms.append({"type": "translation", "translation": shift})
    levels = [{"path": p, "coordinateTransformations": transforms} for p in ("s0", "s1")]
    multiscales = [{"version": version, "axes": named, "datasets": levels}]
    if version == "0.5":
        group.attrs["ome"] = {"version": version, "multiscales": multiscales}
    else:
        group.attrs["multiscales"] = multiscales
    return path


def test_zarr_sees_data_and_ngff_metadata(tmp_path):
    write_volume(tmp_path / "v.ome.zarr", np.stack([DATA, DATA + 1]), (47.5, 4.6, 4.0))
    group = zarr.open_group(str(tmp_path / "v.ome.zarr"), mode="r")
    assert np.array_equal(group["0"][:], np.stack([DATA, DATA + 1]))
    image = group.attrs["multiscales"][0]
    assert [a["name"] for a in image["axes"]] == list("czyx") and image["axes"][1]["unit"] == "nanometer"
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 47.5, 4.6, 4.0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_level_0_of_other_programs(tmp_path, version):
    path = _image(
        tmp_path / "v.zarr",
        DATA[None, None],
        "tczyx",
        [1, 1, 0.04, 0.005, 0.0046],
        version,
        shift=[0, 0, 1, 2, 3],
    )
    volume = read_volume(path)
    assert np.array_equal(volume.numpy()[0], DATA) and voxel_size_zyx_nm(volume) == (40, 5, 4.6)
    assert volume.affine[:3, 3].tolist() == [3000, 2000, 1000]


def test_other_axis_order_and_inner_group(tmp_path):
    _image(tmp_path / "v.zarr" / "em", DATA.transpose(2, 1, 0), "xyz", [4, 5, 40], unit="nanometer")
    volume = read_volume(f"{tmp_path}/v.zarr/em")
    assert np.array_equal(volume.numpy()[0], DATA) and voxel_size_zyx_nm(volume) == (40, 5, 4)
    part = read_volume(f"{tmp_path}/v.zarr/em", region_zyx=[[1, 2], [0, 3], [2, 6]])
    assert np.array_equal(part.numpy()[0], DATA[1:2, :3, 2:6])


def test_plain_arrays(tmp_path):
    zarr.save_array(str(tmp_path / "a.zarr"), DATA)
    assert np.array_equal(read_volume(tmp_path / "a.zarr", (4, 4, 4)).numpy()[0], DATA)
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("raw", data=DATA)
    assert np.array_equal(read_volume(tmp_path / "g.zarr", (4, 4, 4)).numpy()[0], DATA)
    group.create_array("seg", data=DATA)
    with pytest.raises(InputError, match="g.zarr/NAME: raw seg"):
        read_volume(tmp_path / "g.zarr", (4, 4, 4))
    assert read_volume(tmp_path / "g.zarr" / "seg", (4, 4, 4)).shape == (1, 4, 5, 6)


def test_scale_without_unit_and_time_series(tmp_path):
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(_image(tmp_path / "v.zarr", DATA, "zyx", [1, 1, 1], unit=None))
    with pytest.raises(InputError, match="axes 'tzyx'"):
        read_volume(_image(tmp_path / "t.zarr", np.stack([DATA] * 2), "tzyx", [1, 1, 1, 1]))


def test_an_existing_folder_is_replaced_whole(tmp_path):
    write_volume(tmp_path / "v.zarr", DATA[None], (4, 4, 4))
    (tmp_path / "v.zarr" / "old").write_text("x")
    write_volume(tmp_path / "v.zarr", DATA[None] + 1, (4, 4, 4))
    assert np.array_equal(read_volume(tmp_path / "v.zarr").numpy()[0], DATA + 1)
    assert not (tmp_path / "v.zarr" / "old").exists() and [p.name for p in tmp_path.iterdir()] == ["v.zarr"]
