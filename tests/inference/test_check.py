import numpy as np
import pytest
import tifffile

from crossem.errors import InputError
from crossem.inference import check_inputs
from crossem.io import write_volume


@pytest.fixture
def stacks(tmp_path):
    known = write_volume(tmp_path / "known.nii", np.zeros((1, 3, 4, 5), np.uint8), (40, 5, 5))
    unknown = tmp_path / "unknown.tif"
    tifffile.imwrite(unknown, np.zeros((3, 4, 5), np.uint8), photometric="minisblack")
    return [known, unknown]


def test_good_stacks_pass_and_the_folder_is_made(stacks, tmp_path):
    check_inputs(stacks[:1], tmp_path / "out")
    check_inputs(stacks, tmp_path / "out", (40, 5, 5))
    assert (tmp_path / "out").is_dir()


def test_a_later_stack_without_voxel_size_is_found_before_work(stacks, tmp_path):
    with pytest.raises(InputError, match="unknown.tif: the file has no voxel size"):
        check_inputs(stacks, tmp_path / "out")


def test_a_damaged_stack_is_found_before_work(stacks, tmp_path):
    (tmp_path / "empty.tif").touch()
    with pytest.raises(InputError, match=r"empty\.tif"):
        check_inputs([*stacks, tmp_path / "empty.tif"], tmp_path / "out", (40, 5, 5))


def test_a_folder_below_a_file_cannot_be_written(stacks, tmp_path):
    with pytest.raises(InputError, match="output folder cannot be written"):
        check_inputs(stacks[:1], stacks[0] / "out")


def test_the_folder_of_the_stacks_is_no_output_folder(stacks, tmp_path):
    with pytest.raises(InputError, match="holds the input known.nii"):
        check_inputs(stacks[:1], tmp_path)


def test_several_channels(tmp_path):
    stack = write_volume(tmp_path / "two.ome.tif", np.zeros((2, 3, 4, 5), np.uint8), (40, 5, 5))
    with pytest.raises(InputError, match="has 2 channels"):
        check_inputs([stack], tmp_path / "out")


def test_a_wrong_voxel_size(stacks, tmp_path):
    with pytest.raises(InputError, match="voxel_size_zyx_nm"):
        check_inputs(stacks, tmp_path / "out", (40, 5))
