"""Regions and their scores, against scikit-learn's pair counts and entropies."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from skimage.segmentation import find_boundaries
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from crossem import InputError
from crossem.metrics import PartitionScores, partition_tables, predicted_regions

VOXEL = (50, 10, 10)


def cells(seed, sections=3, size=80, count=12):
    """Boundaries (Z, Y, X) of random polygons, other ones in each section."""
    rng = np.random.default_rng(seed)
    yx = np.stack(np.mgrid[:size, :size], axis=-1)[:, :, None]
    nearest = [np.abs(yx - rng.integers(0, size, (count, 2))).sum(-1).argmin(-1) for _ in range(sections)]
    return np.stack([find_boundaries(ids) for ids in nearest]).astype(np.uint8)


def scores(prediction, truth, **more):
    return PartitionScores.from_tables(partition_tables(prediction, truth, 1, VOXEL, **more))


def by_sklearn(prediction, truth):
    """Adapted Rand error, split and merge, of one partition of the scored voxels of all sections."""
    true, found = [], []
    for z, (predicted_section, true_section) in enumerate(zip(prediction, truth, strict=True)):
        scored = true_section == 0
        for ids, regions in ((true, label(scored)[0]), (found, predicted_regions(predicted_section == 1, VOXEL[1:]))):
            ids.append(regions[scored] + 10_000 * z)
    true, found = np.concatenate(true), np.concatenate(found)
    (_, only_found), (only_true, both) = pair_confusion_matrix(true, found)
    shared = mutual_info_score(true, found)
    entropy = [mutual_info_score(ids, ids) - shared for ids in (found, true)]
    return 1 - 2 * both / (2 * both + only_found + only_true), *(h / math.log(2) for h in entropy)


def test_sections_are_scored_as_one_partition():
    truth, prediction = cells(0), cells(0)
    prediction[0, 20:40] = 0
    prediction[1] = cells(1)[1]
    truth[2, 50:] = 255
    ours, reference = scores(torch.from_numpy(prediction), torch.from_numpy(truth)), by_sklearn(prediction, truth)
    assert ours.adapted_rand_error == pytest.approx(reference[0]) and ours.adapted_rand_error > 0.05
    assert ours.variation_of_information_split == pytest.approx(reference[1])
    assert ours.variation_of_information_merge == pytest.approx(reference[2])
    assert ours.as_dict()["variation_of_information"] == pytest.approx(sum(reference[1:]))


def test_a_perfect_prediction_and_a_thinner_one_are_faultless():
    truth = cells(2)
    assert all(value == pytest.approx(0) for value in scores(truth, truth).as_dict().values())
    thick = np.stack([find_boundaries(label(section == 0)[0], mode="thick") for section in truth]) | truth
    truth_of_thick = thick.astype(np.uint8)
    assert scores(truth, truth_of_thick, neck_nm=0).adapted_rand_error == pytest.approx(0)


def two_cells(gap):
    """A wall between two cells of 20 x 20 pixels, with a gap in it."""
    boundary = np.zeros((1, 20, 41), dtype=np.uint8)
    boundary[:, :, 20] = 1
    boundary[:, 10 : 10 + gap, 20] = 0
    return boundary


@pytest.mark.parametrize(("gap", "regions"), [(0, 2), (1, 2), (3, 2), (4, 2), (6, 1), (20, 1)])
def test_a_gap_narrower_than_the_neck_is_closed(gap, regions):
    """Pixels of 10 nm, necks below 50 nm are cut."""
    assert predicted_regions(two_cells(gap)[0] == 1, (10, 10), neck_nm=50).max() == regions
    merge = scores(two_cells(gap), two_cells(0)).variation_of_information_merge
    assert merge == pytest.approx(2 - regions)  # two equal cells run together: one bit


def test_a_cell_cut_in_equal_halves_is_one_bit_of_split():
    result = scores(two_cells(0), np.zeros_like(two_cells(0)))
    # the wall itself is scored and goes to both sides, not in equal parts
    assert result.variation_of_information_split == pytest.approx(1, abs=1e-3)
    assert result.adapted_rand_error == pytest.approx(1 / 3, abs=1e-3)  # all pairs, of which half are found
    assert result.variation_of_information_merge == pytest.approx(0)


def test_a_cell_that_is_nowhere_wide_is_a_region():
    boundary = np.ones((9, 30), dtype=bool)
    boundary[2, 3:25] = boundary[6, 3:25] = False
    regions = predicted_regions(boundary, (10, 10))
    assert regions[2, 3] == regions[2, 24] != regions[6, 3] and set(np.unique(regions)) == {1, 2}


@pytest.mark.parametrize("value", [0, 1])
def test_no_boundary_and_nothing_else_are_one_region(value):
    truth = cells(3)
    assert len(np.unique(predicted_regions(np.full((9, 9), value == 1), (10, 10)))) == 1
    result = scores(np.full_like(truth, value), truth)
    assert result.variation_of_information_merge > 1 and result.variation_of_information_split == pytest.approx(0)


def test_the_pixel_size_of_either_axis_counts():
    """A gap of 4 pixels is 40 nm of pixels of 10 nm, and 80 nm of 20 nm."""
    wall = two_cells(4)[0] == 1
    assert [predicted_regions(wall, size).max() for size in ((10, 10), (20, 10))] == [2, 1]


def test_nothing_to_score_is_nan():
    truth = np.full((2, 5, 6), 255, dtype=np.uint8)
    assert all(math.isnan(value) for value in scores(np.zeros_like(truth), truth).as_dict().values())


def test_wrong_inputs_are_named():
    volume = cells(0)
    with pytest.raises(InputError, match="shapes are prediction"):
        partition_tables(volume[1:], volume, 1, VOXEL)
    with pytest.raises(InputError, match="voxel_size_zyx_nm is"):
        partition_tables(volume, volume, 1, (50, 10))
    with pytest.raises(InputError, match="neck_nm is -1"):
        partition_tables(volume, volume, 1, VOXEL, neck_nm=-1)
