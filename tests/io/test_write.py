import resource

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from crossem.errors import InputError
from crossem.io import make_affine, read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (1, 4, 5, 6)).astype(np.uint8)


def test_a_volume_without_size_is_refused(tmp_path):
    for volume in (DATA, torch.from_numpy(DATA), MetaTensor(torch.from_numpy(DATA))):
        with pytest.raises(InputError, match="v.tif: the volume to write has no voxel size; pass voxel_size_zyx_nm"):
            write_volume(tmp_path / "v.tif", volume)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("volume", [DATA, torch.from_numpy(DATA), MetaTensor(torch.from_numpy(DATA))])
def test_given_size(tmp_path, volume):
    assert write_volume(tmp_path / "sub" / "v.tif", volume, (40, 5, 4)) == tmp_path / "sub" / "v.tif"
    assert voxel_size_zyx_nm(read_volume(tmp_path / "sub" / "v.tif")) == (40, 5, 4)


def test_given_size_overrides_and_keeps_directions(tmp_path):
    affine = make_affine((40, 5, 4)) @ torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))
    write_volume(tmp_path / "v.nii", MetaTensor(torch.from_numpy(DATA), affine=affine), (80, 10, 8))
    assert torch.allclose(read_volume(tmp_path / "v.nii").affine[:3, :3], 2 * affine[:3, :3])


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 1, 4, 5, 6), (1, 0, 5, 6)])
def test_shape(tmp_path, shape):
    with pytest.raises(InputError, match=r"has to be \(C, Z, Y, X\)"):
        write_volume(tmp_path / "v.tif", np.zeros(shape, np.uint8), (1, 1, 1))


def test_unknown_extension(tmp_path):
    with pytest.raises(InputError, match="v.jpg: unknown file extension"):
        write_volume(tmp_path / "v.jpg", DATA, (1, 1, 1))


@pytest.mark.parametrize(
    ("dtype", "stored"), [(torch.bool, "uint8"), (torch.float16, "float32"), (torch.bfloat16, "float32")]
)
def test_types_made_storable(tmp_path, dtype, stored):
    volume = torch.from_numpy(DATA).to(dtype)
    write_volume(tmp_path / "v.nii", volume, (40, 4, 4))
    back = read_volume(tmp_path / "v.nii").numpy()
    assert back.dtype == stored and np.array_equal(back, volume.float().numpy())


@pytest.mark.parametrize(
    "name", ["v.nii", "v.nii.gz", "v.mrc", "v.nrrd", "v.mha", "v.tif", "v.ome.tif", "v.h5", "v.zarr"]
)
def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, name):
    write_volume(tmp_path / name, DATA, (40, 4, 4))
    noise = np.random.default_rng(1).integers(0, 255, (1, 40, 100, 100)).astype(np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # what a full disk does: writes fail half-way
    try:
        with pytest.raises(InputError, match="could not be written") as error:
            write_volume(tmp_path / name, noise, (40, 4, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert np.array_equal(read_volume(tmp_path / name).numpy(), DATA)


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file/out: output folder cannot be written"):
        write_volume(tmp_path / "file" / "out" / "v.tif", DATA, (40, 4, 4))
