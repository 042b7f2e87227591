import h5py
import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)


def _file(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file[name] = array
            file[name].attrs["element_size_um"] = [0.04, 0.005, 0.0046]
    return path


def test_h5py_sees_data_and_size(tmp_path):
    write_volume(f"{tmp_path}/v.h5:/volumes/raw", DATA[None], (47.5, 4.6, 4.0))
    with h5py.File(tmp_path / "v.h5") as file:
        assert np.array_equal(file["volumes/raw"][:], DATA)
        assert file["volumes/raw"].attrs["element_size_um"].tolist() == [0.0475, 0.0046, 0.004]


def test_files_of_other_programs(tmp_path):
    _file(
        tmp_path / "v.h5",
        raw=DATA.astype(">f4"),
        label=DATA > 9,
        table=np.zeros(3),
        both=np.stack([DATA] * 2),
    )
    raw = read_volume(f"{tmp_path}/v.h5:/raw")
    assert voxel_size_zyx_nm(raw) == (40, 5, 4.6) and np.array_equal(raw.numpy()[0], DATA.astype(np.float32))
    label = read_volume(f"{tmp_path}/v.h5:label")
    assert label.numpy().dtype == np.uint8 and np.array_equal(label.numpy()[0], DATA > 9)
    assert read_volume(f"{tmp_path}/v.h5:/both").shape == (2, 4, 5, 6)


def test_dataset_names(tmp_path):
    path = _file(tmp_path / "one.h5", raw=DATA, table=np.zeros(3))
    assert np.array_equal(read_volume(path).numpy()[0], DATA)
    path = _file(tmp_path / "two.h5", raw=DATA, label=DATA)
    with pytest.raises(InputError, match=r"two.h5:/NAME; .*/label \(4, 5, 6\) /raw \(4, 5, 6\)"):
        read_volume(path)
    with pytest.raises(InputError, match=r"two.h5:/rwa: no such .* /raw \(4, 5, 6\)"):
        read_volume(f"{path}:/rwa")
    with pytest.raises(InputError, match="there: none"):
        read_volume(_file(tmp_path / "none.h5", table=np.zeros(3)))


def test_size_missing(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = DATA
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(tmp_path / "v.h5")


def test_other_datasets_stay_and_a_new_one_replaces(tmp_path):
    path = _file(tmp_path / "v.h5", raw=DATA)
    write_volume(f"{path}:/seg", DATA[None] + 1, (40, 5, 5))
    write_volume(f"{path}:/seg", DATA[None] + 2, (40, 5, 5))
    with h5py.File(path) as file:
        assert sorted(file) == ["raw", "seg"]
        assert np.array_equal(file["raw"][:], DATA) and np.array_equal(file["seg"][:], DATA + 2)
    with h5py.File(path, "a") as file:
        file["group/a"] = 1
    with pytest.raises(InputError, match="group.*choose another dataset name"):
        write_volume(f"{path}:/group", DATA[None], (40, 5, 5))


def test_a_stale_affine_is_ignored(tmp_path):
    write_volume(tmp_path / "v.h5", DATA[None], (40, 5, 5))
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file["data"].attrs["element_size_um"] = [0.03, 0.003, 0.003]
    assert voxel_size_zyx_nm(read_volume(tmp_path / "v.h5")) == (30, 3, 3)
