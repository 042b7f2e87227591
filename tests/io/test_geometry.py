import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from nibabel.affines import apply_affine, voxel_sizes

from crossem.errors import InputError
from crossem.io import check_voxel_size, make_affine, voxel_size_zyx_nm
from crossem.io.geometry import is_placeholder, is_plain, shift_origin, stored_axes, with_voxel_size


def _oblique():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ make_affine((40, 5, 4)).numpy()[:3, :3]
    affine[:3, 3] = 10, 20, 30
    return affine


def test_make_affine_maps_zyx_to_xyz_nm():
    affine = make_affine((47.5, 4.6, 4.0), origin_xyz_nm=(1, 2, 3))
    assert affine.dtype is torch.float64
    assert apply_affine(affine.numpy(), [2, 3, 5]).tolist() == pytest.approx([1 + 5 * 4, 2 + 3 * 4.6, 3 + 2 * 47.5])
    assert affine[0, 2] == 4.0 and affine[1, 1] == 4.6 and affine[2, 0] == 47.5


def test_voxel_size_is_exact_and_like_nibabel():
    volume = MetaTensor(torch.zeros(1, 2, 2, 2), affine=make_affine((47.5, 4.6, 4.1)))
    assert voxel_size_zyx_nm(volume) == (47.5, 4.6, 4.1)
    assert voxel_size_zyx_nm(_oblique()) == pytest.approx(tuple(voxel_sizes(_oblique())))


@pytest.mark.parametrize("bad", [None, 5, "4,5,6", [1, 2], [1, 2, 0], [1, 2, -3], [1, 2, float("nan")], ["a", 1, 2]])
def test_voxel_size_needs_three_positive_numbers(bad):
    with pytest.raises(InputError, match="three positive numbers"):
        check_voxel_size(bad)


def test_wrong_affine_is_named():
    with pytest.raises(InputError, match="4x4"):
        voxel_size_zyx_nm(np.eye(3))


def test_with_voxel_size_keeps_directions_and_the_origin_index():
    new = with_voxel_size(_oblique(), (80, 10, 12))
    assert voxel_size_zyx_nm(new) == pytest.approx((80, 10, 12))
    index = np.linalg.inv(_oblique()) @ [0, 0, 0, 1]
    assert new @ index == pytest.approx([0, 0, 0, 1])


def test_shift_origin_is_the_position_of_the_first_voxel():
    assert shift_origin(_oblique(), (3, 2, 1))[:3, 3] == pytest.approx(apply_affine(_oblique(), [3, 2, 1]))


def test_axes_and_plainness():
    assert stored_axes(_oblique()) == "zyx" and not is_plain(_oblique())
    assert stored_axes(np.diag([-4.0, 5, 6, 1])) == "xyz"
    assert is_plain(make_affine((47.5, 4.6, 4.6), (9, 9, 9)).numpy())


@pytest.mark.parametrize(("sizes", "placeholder"), [((1e6, 1e6, 1e6), True), ((40, 4, 0), True), ((40, 4, 4), False)])
def test_placeholder_sizes(sizes, placeholder):
    assert is_placeholder(np.diag([*sizes, 1.0])) is placeholder
