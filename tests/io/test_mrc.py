import itk
import mrcfile
import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)


def _file(path, array, **header):
    with mrcfile.new(path) as mrc:
        mrc.set_data(array)
        mrc.header.cella = (60.0 * array.shape[2], 50.0 * array.shape[1], 400.0 * array.shape[0])
        for name, value in header.items():
            mrc.header[name] = value
    return path


def test_itk_and_mrcfile_see_data_and_angstrom(tmp_path):
    write_volume(tmp_path / "v.mrc", DATA[None], (47.5, 4.6, 4.0))
    seen = itk.imread(str(tmp_path / "v.mrc"))
    assert np.array_equal(itk.array_from_image(seen), DATA)  # unsigned, thanks to the IMOD stamp
    assert list(seen.GetSpacing()) == pytest.approx([40, 46, 475])
    write_volume(tmp_path / "s.mrc", DATA[None].astype(np.int16), (47.5, 4.6, 4.0))
    assert mrcfile.validate(tmp_path / "s.mrc")


def test_size_type_and_byte_order_of_other_programs_files(tmp_path):
    volume = read_volume(_file(tmp_path / "v.rec", DATA.view(np.int8)))
    assert voxel_size_zyx_nm(volume) == (40.0, 5.0, 6.0)
    assert np.array_equal(volume.numpy()[0], DATA.view(np.int8))
    big = DATA.astype(">i2")
    with mrcfile.new(tmp_path / "b.mrc") as mrc:
        mrc.set_data(big)
        mrc.voxel_size = 50
    assert np.array_equal(read_volume(tmp_path / "b.mrc").numpy()[0], DATA.astype(np.int16))


def test_permuted_axes(tmp_path):
    # columns are z, rows y, sections x: the cell is of x, y, z
    path = _file(tmp_path / "v.mrc", DATA.transpose(2, 1, 0).astype(np.int16), mapc=3, mapr=2, maps=1, mx=6, mz=4)
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.cella = (60.0 * 6, 50.0 * 5, 400.0 * 4)
    volume = read_volume(path)
    assert np.array_equal(volume.numpy()[0], DATA)
    assert voxel_size_zyx_nm(volume) == (40.0, 5.0, 6.0)
    write_volume(tmp_path / "out.mrc", volume)
    with mrcfile.open(tmp_path / "out.mrc") as out, mrcfile.open(path) as mrc:
        assert np.array_equal(out.data, mrc.data)
        for name in ("mapc", "mapr", "maps", "mx", "my", "mz", "cella"):
            assert out.header[name] == mrc.header[name]


@pytest.mark.parametrize("cell", [(0, 0, 0), (6, 5, 4)])
def test_placeholder_cells_count_as_none(tmp_path, cell):
    path = _file(tmp_path / "v.mrc", DATA.astype(np.int16), cella=cell)
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(path)
    assert voxel_size_zyx_nm(read_volume(path, (40, 4, 4))) == (40, 4, 4)


def test_bytes_that_itk_writes_are_unsigned(tmp_path):
    image = itk.image_from_array(DATA)
    image.SetSpacing([40, 46, 475])
    itk.imwrite(image, str(tmp_path / "v.mrc"))
    volume = read_volume(tmp_path / "v.mrc")
    assert np.array_equal(volume.numpy()[0], DATA) and voxel_size_zyx_nm(volume) == (47.5, 4.6, 4.0)
