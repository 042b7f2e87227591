"""Length units, and conversions that leave decimals exact (4.6e-06 mm is 4.6 nm, not 4.600000000000001)."""

from decimal import Decimal

import numpy as np

_NM_PER_UNIT = {
    "angstrom": "0.1", "ångström": "0.1", "å": "0.1", "a": "0.1",
    "nm": "1", "nanometer": "1", "nanometre": "1",
    "um": "1e3", "µm": "1e3", "micron": "1e3", "micrometer": "1e3", "micrometre": "1e3",
    "mm": "1e6", "millimeter": "1e6", "millimetre": "1e6",
    "cm": "1e7", "centimeter": "1e7", "centimetre": "1e7",
    "m": "1e9", "meter": "1e9", "metre": "1e9",
    "inch": "25.4e6", "pm": "1e-3", "picometer": "1e-3",
}  # fmt: skip


def nm_per_unit(name: str | None) -> Decimal | None:
    """Nanometres in one unit of this name; None for a name that is no length (pixel, unknown, missing)."""
    if not name:
        return None
    text = str(name).strip().strip('"').replace("\\u00B5", "µ").replace("μ", "µ").lower()
    factor = _NM_PER_UNIT.get(text) or _NM_PER_UNIT.get(text.removesuffix("s"))
    return Decimal(factor) if factor else None


def to_nm(values: np.ndarray, factor: Decimal) -> np.ndarray:
    """Multiply each value, taken as its shortest decimal, by `factor`; float64 of the same shape."""
    values = np.asarray(values)
    exact = [float(Decimal(np.format_float_scientific(v)) * factor) if np.isfinite(v) else v for v in values.ravel()]
    return np.array(exact, dtype=np.float64).reshape(values.shape)


def from_nm(values: np.ndarray, factor: Decimal) -> np.ndarray:
    """The inverse of `to_nm`: nanometres to the unit of `factor`, float64 of the same shape."""
    values = np.asarray(values, dtype=np.float64)
    exact = [float(Decimal(repr(float(v))) / factor) for v in values.ravel()]
    return np.array(exact, dtype=np.float64).reshape(values.shape)
