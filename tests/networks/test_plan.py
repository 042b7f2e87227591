import pytest

from crossem.errors import InputError
from crossem.networks import plan_unet


def test_an_axis_is_pooled_and_convolved_only_once_the_others_are_as_coarse():
    plan = plan_unet((45, 9.5, 9.5), (8, 128, 128))
    # 9.5 nm -> 19 -> 38 in the plane; only at 38 nm is 45 nm in z comparable
    assert plan.kernels_zyx == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert plan.strides_zyx == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2))
    assert plan.divisor_zyx == (2, 16, 16)


def test_isotropic_voxels_give_an_isotropic_network():
    plan = plan_unet((10, 10, 10), (64, 64, 64))
    assert set(plan.kernels_zyx) == {(3, 3, 3)}
    assert set(plan.strides_zyx) == {(2, 2, 2)}


def test_a_small_patch_drops_the_levels_it_cannot_reach():
    assert plan_unet((10, 10, 10), (16, 16, 16)).levels == 3  # 16 -> 8 -> 4


@pytest.mark.parametrize(
    ("voxel_size", "roi", "named"),
    [
        ((45, 9.5), (8, 128, 128), "voxel_size_zyx_nm"),
        ((45, 0, 9.5), (8, 128, 128), "voxel_size_zyx_nm"),
        ((45, 9.5, 9.5), (8, 100, 128), "roi_size_zyx"),
    ],
)
def test_wrong_sizes_are_named(voxel_size, roi, named):
    with pytest.raises(InputError, match=named):
        plan_unet(voxel_size, roi)
