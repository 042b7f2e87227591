"""crossem: 3D segmentation of electron microscopy stacks across domains."""

import importlib
from types import ModuleType

from crossem.errors import InputError

__version__ = "0.1.0"
__all__ = ["InputError", "__version__"]

_SUBPACKAGES = (
    "bundle",
    "data",
    "inference",
    "io",
    "losses",
    "methods",
    "metrics",
    "networks",
    "report",
    "transforms",
)


def __getattr__(name: str) -> ModuleType:
    """Subpackages on first use, so that a bundle's config needs `import crossem` alone."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"crossem.{name}")
    raise AttributeError(f"module 'crossem' has no attribute {name!r}")
