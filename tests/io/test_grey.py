import numpy as np
import pytest

from crossem.errors import InputError
from crossem.io.grey import grey_from_samples

GREY = np.random.default_rng(0).integers(0, 255, (4, 5), dtype=np.uint8)
FULL = np.full_like(GREY, 255)


@pytest.mark.parametrize("samples", [[GREY], [GREY] * 3, [GREY, GREY, GREY, FULL], [GREY, FULL]])
def test_grey_stored_as_colour(samples):
    assert np.array_equal(grey_from_samples(np.stack(samples, -1), "p"), GREY)


@pytest.mark.parametrize("samples", [[GREY, GREY, GREY + 1], [GREY, GREY, GREY, GREY], [GREY, GREY], [GREY] * 5])
def test_colour_and_transparency_are_refused(samples):
    with pytest.raises(InputError, match="p.png: a colour picture .* 8-bit grey"):
        grey_from_samples(np.stack(samples, -1), "p.png")
