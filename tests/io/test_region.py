import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io import resolve_region

SHAPE = (20, 100, 80)


@pytest.mark.parametrize(
    "region", [None, [[None, None]] * 3, [[2, 5], [None, 50], [-10, None]], [[0, 20], [-100, -1], [79, 80]]]
)
def test_like_numpy_slices(region):
    pairs = resolve_region(region, SHAPE, "v")
    ours = np.zeros(SHAPE)[tuple(slice(*p) for p in pairs)].shape
    assert ours == np.zeros(SHAPE)[tuple(slice(*p) for p in region or [[None, None]] * 3)].shape
    assert all(0 <= start < stop <= size for (start, stop), size in zip(pairs, SHAPE, strict=True))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([[5, 5], [0, 1], [0, 1]], "along z is empty"),
        ([[0, 1], [50, 10], [0, 1]], "along y is empty"),
        ([[0, 1], [0, 1], [0, 81]], "outside the volume, which has 80"),
        ([[-21, None], [0, 1], [0, 1]], "outside"),
        ([[0, 1], [0, 1]], "give \\[\\[z0"),
        ([[0, 1, 2]] * 3, "give"),
        ([[0.5, 1]] * 3, "whole numbers"),
        ("abc", "give"),
        (3, "give"),
    ],
)
def test_wrong_regions(region, message):
    with pytest.raises(InputError, match=message) as error:
        resolve_region(region, SHAPE, "stack.tif")
    assert str(error.value).startswith("stack.tif") and "\n" not in str(error.value)
