import itk
import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)


def _itk_file(path, spacing, direction=(1, 1, 1)):
    image = itk.image_from_array(DATA)
    image.SetSpacing(spacing)
    image.SetOrigin([1e-3, 2e-3, 3e-3])
    image.SetDirection(itk.matrix_from_array(np.diag(np.array(direction, dtype=float))))
    itk.imwrite(image, str(path))
    return path


def test_itk_sees_data_and_mm(tmp_path):
    write_volume(tmp_path / "v.mha", DATA[None], (47.5, 4.6, 4.0))
    seen = itk.imread(str(tmp_path / "v.mha"))
    assert np.array_equal(itk.array_from_image(seen), DATA)
    assert list(seen.GetSpacing()) == [4e-6, 4.6e-6, 47.5e-6]


@pytest.mark.parametrize("direction", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
@pytest.mark.parametrize("name", ["v.mha", "v.mhd"])
def test_files_of_itk_keep_their_place(tmp_path, name, direction):
    path = _itk_file(tmp_path / name, [4e-6, 4.6e-6, 47.5e-6], direction)
    volume = read_volume(path)
    assert voxel_size_zyx_nm(volume) == (47.5, 4.6, 4.0)
    assert np.array_equal(volume.numpy()[0], DATA)
    write_volume(tmp_path / "out.mha", volume)
    before, after = itk.imread(str(path)), itk.imread(str(tmp_path / "out.mha"))
    assert list(before.GetOrigin()) == list(after.GetOrigin()) and list(before.GetSpacing()) == list(after.GetSpacing())
    assert np.array_equal(itk.array_from_matrix(after.GetDirection()), np.diag(direction))


def test_distance_units_are_honoured(tmp_path):
    path = _itk_file(tmp_path / "v.mha", [0.004, 0.0046, 0.0475])
    path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", b"NDims = 3\nDistanceUnits = um\n"))
    assert voxel_size_zyx_nm(read_volume(path)) == (47.5, 4.6, 4.0)


@pytest.mark.parametrize("spacing", [[1, 1, 1], [4.6, 4.6, 47.5]])
def test_a_spacing_that_is_no_mm_counts_as_none(tmp_path, spacing):
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(_itk_file(tmp_path / "v.mha", spacing))
    assert voxel_size_zyx_nm(read_volume(tmp_path / "v.mha", (40, 4, 4))) == pytest.approx((40, 4, 4))


def test_missing_and_short_data_file(tmp_path):
    _itk_file(tmp_path / "v.mhd", [4e-6, 4e-6, 4e-6])
    (tmp_path / "v.raw").write_bytes(b"1234")
    with pytest.raises(InputError, match="v.raw: truncated, 4 bytes where 120"):
        read_volume(tmp_path / "v.mhd")
    (tmp_path / "v.raw").unlink()
    with pytest.raises(InputError, match="v.raw is missing"):
        read_volume(tmp_path / "v.mhd")


def test_mhd_is_not_written(tmp_path):
    with pytest.raises(InputError, match="write .mha"):
        write_volume(tmp_path / "v.mhd", DATA[None], (40, 4, 4))
