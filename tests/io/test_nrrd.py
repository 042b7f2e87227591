import itk
import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)
RAW = DATA.tobytes()


def _file(path, *lines, data=RAW, kind="uint8"):
    header = ["NRRD0004", f"type: {kind}", "dimension: 3", "sizes: 6 5 4", "encoding: raw", *lines]
    path.write_bytes(("\n".join(header) + "\n\n").encode() + data)
    return path


def test_itk_sees_data_directions_and_spacing(tmp_path):
    write_volume(tmp_path / "v.nrrd", DATA[None], (47.5, 4.6, 4.0))
    seen = itk.imread(str(tmp_path / "v.nrrd"))
    assert np.array_equal(itk.array_from_image(seen), DATA)
    assert list(seen.GetSpacing()) == [4.0, 4.6, 47.5]
    assert np.array_equal(itk.array_from_matrix(seen.GetDirection()), np.diag([-1, -1, 1]))
    assert b'space units: "nm" "nm" "nm"' in (tmp_path / "v.nrrd").read_bytes()


def test_units_and_space_of_other_programs_files(tmp_path):
    path = _file(
        tmp_path / "v.nrrd",
        "space: right-anterior-superior",
        "space directions: (0.004,0,0) (0,0.0046,0) (0,0,0.0475)",
        "space origin: (1,2,3)",
        'space units: "um" "um" "um"',
    )
    volume = read_volume(path)
    assert voxel_size_zyx_nm(volume) == (47.5, 4.6, 4.0)
    assert volume.affine[:3, 3].tolist() == [1000, 2000, 3000]
    assert np.array_equal(volume.numpy()[0], DATA)
    write_volume(tmp_path / "out.nrrd", volume)
    before, after = itk.imread(str(path)), itk.imread(str(tmp_path / "out.nrrd"))
    assert list(before.GetOrigin()) == list(after.GetOrigin()) and list(before.GetSpacing()) == list(after.GetSpacing())


def test_big_endian(tmp_path):
    path = _file(
        tmp_path / "v.nrrd", 'units: "nm" "nm" "nm"', "spacings: 4 5 40", "endian: big",
        data=DATA.astype(">u2").tobytes(), kind="uint16",
    )  # fmt: skip
    assert np.array_equal(read_volume(path).numpy()[0], DATA.astype(np.uint16))
    assert voxel_size_zyx_nm(read_volume(path)) == (40, 5, 4)


@pytest.mark.parametrize(
    "lines", [[], ["spacings: 4 4 40"], ["spacings: 4 4 40", 'units: "pixel" "pixel" "pixel"'],
              ["spacings: 1 1 1", 'units: "mm" "mm" "mm"']]
)  # fmt: skip
def test_spacing_without_unit_counts_as_none(tmp_path, lines):
    path = _file(tmp_path / "v.nrrd", *lines)
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(path)
    assert voxel_size_zyx_nm(read_volume(path, (40, 4, 4))) == pytest.approx((40, 4, 4))


def test_detached_header_is_not_written(tmp_path):
    with pytest.raises(InputError, match="write .nrrd"):
        write_volume(tmp_path / "v.nhdr", DATA[None], (40, 4, 4))
    assert list(tmp_path.iterdir()) == []
