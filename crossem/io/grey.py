"""Colour pictures: grey ones stored as RGB are taken, real colour is refused."""

import numpy as np

from crossem.errors import InputError


def grey_from_samples(data: np.ndarray, what: str) -> np.ndarray:
    """Drop the last axis (1 to 4 samples: grey, grey + alpha, RGB, RGBA) if the colours are equal.

    InputError for real colour or transparency.
    """
    samples = data.shape[-1]
    colours = data[..., : samples - (samples in (2, 4))]
    equal = all(np.array_equal(colours[..., 0], colours[..., k]) for k in range(1, colours.shape[-1]))
    if samples in (2, 4):
        full = np.iinfo(data.dtype).max if data.dtype.kind in "iu" else 1.0
        equal = equal and bool((data[..., -1] == full).all())
    if samples > 4 or not equal:
        raise InputError(f"{what}: a colour picture ({samples} samples a pixel); convert it to 8-bit grey")
    return colours[..., 0]
