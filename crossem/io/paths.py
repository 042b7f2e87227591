"""Error messages about paths: what was looked for, and what is there instead."""

import difflib
from pathlib import Path

from crossem.errors import InputError


def check_exists(path: Path) -> None:
    """InputError if nothing is there; it names the first missing part and close names next to it."""
    if path.exists():
        return
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir() if not entry.name.startswith("."))
    except OSError:
        names = []
    close = difflib.get_close_matches(missing.name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"{missing.parent.resolve()} has no {missing.name!r}"
    raise InputError(f"{path}: not found; {hint}")


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception's text on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
