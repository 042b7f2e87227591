import itk
import nibabel as nib
import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)  # z, y, x
SIZE = (47.5, 4.6, 4.0)


def _save(path, affine, unit="mm", array=DATA.T, dtype=None):
    image = nib.Nifti1Image(array, affine, dtype=dtype)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def test_nibabel_and_itk_see_the_transpose_and_the_size_in_mm(tmp_path):
    write_volume(tmp_path / "v.nii.gz", DATA[None], SIZE)
    image = nib.load(tmp_path / "v.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), DATA.T)
    assert np.array_equal(nib.as_closest_canonical(image).get_fdata(), DATA.T)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.affine == pytest.approx(np.diag([4e-6, 4.6e-6, 47.5e-6, 1]), rel=1e-6)
    assert image.get_qform() == pytest.approx(image.affine, rel=1e-6)
    seen = itk.imread(str(tmp_path / "v.nii.gz"))
    assert np.array_equal(itk.array_from_image(seen), DATA)
    assert list(seen.GetSpacing()) == pytest.approx([4e-6, 4.6e-6, 47.5e-6], rel=1e-6)
    assert itk.array_from_matrix(seen.GetDirection()) == pytest.approx(np.diag([-1, -1, 1]))  # RAS seen in LPS


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1e-6), ("micron", 1e-3), ("meter", 1e-9)])
def test_units_are_read_and_kept(tmp_path, unit, scale):
    affine = np.diag([4 * scale, 4.6 * scale, 47.5 * scale, 1])
    volume = read_volume(_save(tmp_path / "v.nii", affine, unit))
    assert voxel_size_zyx_nm(volume) == SIZE
    write_volume(tmp_path / "out.nii", volume)
    assert np.array_equal(nib.load(tmp_path / "out.nii").affine, nib.load(tmp_path / "v.nii").affine)
    assert nib.load(tmp_path / "out.nii").header.get_xyzt_units()[0] == unit


@pytest.mark.parametrize("codes", ["LPS", "RAS", "ASL", "SPR", "PIL"])
def test_any_orientation_is_zyx_in_memory_and_itself_again_on_disk(tmp_path, codes):
    axes = nib.orientations.axcodes2ornt(codes)
    affine = np.diag([4e-6, 4.6e-6, 47.5e-6, 1])
    affine[:3, 3] = 1e-3, -2e-3, 3e-3
    canonical = nib.Nifti1Image(DATA.T, affine)
    canonical.header.set_xyzt_units("mm")
    nib.save(canonical.as_reoriented(axes), tmp_path / "v.nii.gz")
    stored = nib.load(tmp_path / "v.nii.gz")
    volume = read_volume(tmp_path / "v.nii.gz")
    assert volume.shape[1:] == DATA.shape
    assert voxel_size_zyx_nm(volume) == pytest.approx(SIZE)
    # every voxel lies where nibabel says: undo the flips that the affine tells, compare with canonical
    flipped = [k + 1 for k in range(3) if volume.affine[2 - k, k] < 0]
    assert np.array_equal(np.flip(volume.numpy(), flipped)[0], nib.as_closest_canonical(stored).get_fdata().T)
    write_volume(tmp_path / "out.nii.gz", volume)
    out = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(out.affine, stored.affine) and out.shape == stored.shape
    assert np.array_equal(out.get_fdata(), stored.get_fdata())


def test_region_of_permuted_axes(tmp_path):
    canonical = nib.Nifti1Image(DATA.T, np.diag([4e-6, 4.6e-6, 47.5e-6, 1]))
    canonical.header.set_xyzt_units("mm")
    nib.save(canonical.as_reoriented(nib.orientations.axcodes2ornt("SAR")), tmp_path / "v.nii")
    part = read_volume(tmp_path / "v.nii", region_zyx=[[1, 3], [0, 2], [2, 6]])
    assert np.array_equal(part.numpy()[0], DATA[1:3, 0:2, 2:6])
    assert part.affine[:3, 3].tolist() == pytest.approx([2 * 4, 0, 47.5])


@pytest.mark.parametrize(("unit", "sizes"), [("unknown", [1, 1, 1]), ("unknown", [4, 4, 40]), ("mm", [1, 1, 1])])
def test_placeholder_sizes_count_as_none(tmp_path, unit, sizes):
    path = _save(tmp_path / "v.nii", np.diag([*sizes, 1]), unit)
    with pytest.raises(InputError, match=r'no voxel size.*"voxel_size_zyx_nm".*--voxel_size_zyx_nm'):
        read_volume(path)
    assert voxel_size_zyx_nm(read_volume(path, SIZE)) == SIZE


def test_big_endian_scaled_and_4d(tmp_path):
    affine = np.diag([4e-6, 4.6e-6, 47.5e-6, 1])
    path = _save(tmp_path / "b.nii", affine, array=DATA.T.astype(">u2"))
    assert np.array_equal(read_volume(path).numpy()[0], DATA.astype(np.uint16))
    image = nib.Nifti1Image(DATA.T.astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "s.nii")
    assert np.allclose(read_volume(tmp_path / "s.nii").numpy()[0].T, nib.load(tmp_path / "s.nii").get_fdata())
    _save(tmp_path / "t.nii", affine, array=DATA.T[..., None])
    assert read_volume(tmp_path / "t.nii").shape == (1, *DATA.shape)
    _save(tmp_path / "f.nii", affine, array=np.stack([DATA.T] * 2, -1))
    with pytest.raises(InputError, match="more than 3 axes"):
        read_volume(tmp_path / "f.nii")
