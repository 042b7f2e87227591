from decimal import Decimal

import numpy as np
import pytest

from crossem.io.units import from_nm, nm_per_unit, to_nm


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("nm", 1),
        ("Nanometer", 1),
        ("nanometers", 1),
        ("µm", 1000),
        ("\\u00B5m", 1000),
        ("micron", 1000),
        ("microns", 1000),
        ("mm", 10**6),
        ("angstrom", Decimal("0.1")),
        ("Å", Decimal("0.1")),
        ("inch", 25400000),
    ],
)
def test_lengths(name, factor):
    assert nm_per_unit(name) == factor


@pytest.mark.parametrize("name", [None, "", "pixel", "unknown", "sec"])
def test_what_is_no_length(name):
    assert nm_per_unit(name) is None


def test_decimals_stay_exact_also_from_float32():
    assert to_nm(np.float64(4.6e-06), nm_per_unit("mm")) == 4.6
    assert to_nm(np.array([0.0475, 0.0046], np.float32), nm_per_unit("um")).tolist() == [47.5, 4.6]


def test_there_and_back_gives_the_same_float32():
    stored = np.random.default_rng(0).random(1000).astype(np.float32)
    for unit in ("mm", "um", "angstrom"):
        back = from_nm(to_nm(stored, nm_per_unit(unit)), nm_per_unit(unit))
        assert np.array_equal(back.astype(np.float32), stored)
