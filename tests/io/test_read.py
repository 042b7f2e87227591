import os
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from monai.data import list_data_collate
from monai.transforms import EnsureChannelFirst, Spacing

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)
SIZE = (40, 5, 4)
REAL = Path(os.environ.get("CROSSEM_TEST_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real data; set CROSSEM_TEST_DATA to its folder")


def test_missing_file_suggests_close_names(tmp_path):
    write_volume(tmp_path / "training.tif", DATA[None], SIZE)
    with pytest.raises(InputError, match=r"trainig.tif: not found; did you mean training.tif\?"):
        read_volume(tmp_path / "trainig.tif")
    with pytest.raises(InputError, match="has no 'nowhere'"):
        read_volume(tmp_path / "nowhere" / "deep" / "v.tif")
    with pytest.raises(InputError, match="v.h5: not found"):
        read_volume(f"{tmp_path}/v.h5:/raw")


def test_unknown_extension_lists_the_known(tmp_path):
    (tmp_path / "v.dm3").write_bytes(b"1")
    with pytest.raises(InputError, match="v.dm3: unknown file extension; known are .nii.gz .*folder of slices"):
        read_volume(tmp_path / "v.dm3")


@pytest.mark.parametrize("bad", [[1, 2], [0, 1, 1], "40,4,4", [40, -4, 4]])
def test_wrong_voxel_size(tmp_path, bad):
    write_volume(tmp_path / "v.tif", DATA[None], SIZE)
    with pytest.raises(InputError, match="v.tif: voxel_size_zyx_nm is .* three positive numbers"):
        read_volume(tmp_path / "v.tif", bad)


@pytest.mark.parametrize(
    ("stored", "loaded"),
    [
        ("bool", "uint8"),
        ("uint32", "int64"),
        ("float16", "float32"),
        (">i2", "int16"),
        (">f8", "float64"),
        ("int8", "int8"),
    ],
)
def test_types(tmp_path, stored, loaded):
    import h5py

    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = DATA.astype(stored)
    volume = read_volume(tmp_path / "v.h5", SIZE)
    assert volume.numpy().dtype == loaded and np.array_equal(volume.numpy()[0], DATA.astype(stored).astype(loaded))


def test_complex_voxels_are_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = DATA.astype(np.complex64)
    with pytest.raises(InputError, match="type complex64"):
        read_volume(tmp_path / "v.h5", SIZE)


def test_meta_serves_monai(tmp_path):
    write_volume(tmp_path / "a.nii.gz", DATA[None], SIZE)
    write_volume(tmp_path / "b.tif", DATA[None], SIZE)
    volumes = [read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / "b.tif")]
    assert volumes[0].meta["filename_or_obj"] == str(tmp_path / "a.nii.gz")
    assert EnsureChannelFirst()(volumes[0]).shape == (1, 4, 5, 6)
    batch = list_data_collate([{"image": v} for v in volumes])["image"]
    assert batch.shape == (2, 1, 4, 5, 6) and batch.meta["filename_or_obj"][1] == str(tmp_path / "b.tif")
    # MONAI's pixdim is per index axis, so z, y, x here
    halved = Spacing(pixdim=(20, 5, 4))(volumes[1].to(torch.float32))
    assert halved.shape[1:] == (7, 5, 6) and voxel_size_zyx_nm(halved) == pytest.approx((20, 5, 4))


@needs_real_data
def test_real_hippocampus_stack_reads_fast_and_right():
    path = REAL / "epfl_hippocampus" / "training.tif"
    if not path.exists():
        pytest.skip(f"no {path}")
    start = time.perf_counter()
    volume = read_volume(path, (5, 5, 5))
    assert time.perf_counter() - start < 20
    assert volume.shape == (1, 165, 768, 1024) and volume.dtype == torch.uint8
    start = time.perf_counter()
    part = read_volume(path, (5, 5, 5), [[160, 165], [100, 200], [None, 50]])
    assert time.perf_counter() - start < 2
    assert torch.equal(part.as_tensor(), volume.as_tensor()[:, 160:, 100:200, :50])
    with tifffile.TiffFile(path) as tif:
        assert np.array_equal(tif.pages[163].asarray(), volume.numpy()[0, 163])


@needs_real_data
def test_real_slice_folders_read_fast_and_right():
    folder = REAL / "vnc" / "stack1_train" / "raw"
    if not folder.exists():
        pytest.skip(f"no {folder}")
    start = time.perf_counter()
    volume = read_volume(folder, (47.5, 4.6, 4.6))
    assert time.perf_counter() - start < 10
    assert volume.shape == (1, 20, 1024, 686)
    assert np.array_equal(tifffile.imread(folder / "13.tif"), volume.numpy()[0, 13])
    assert read_volume(folder.parent / "labels", (47.5, 4.6, 4.6)).shape == volume.shape
