"""Turn pydantic's report of a wrong JSON file into one line that a user can act on."""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from crossem.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def close_match(word: str, known: list[str]) -> str:
    """'; did you mean X?' for the known word nearest to `word`, or an empty string."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def read_json(path: Path, what: str) -> Any:
    """Content of a JSON file. Raises InputError, naming `what` it is, when it is no readable JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InputError(f"{what} {path}: cannot be read ({err.strerror}); give the path of a JSON file") from err
    except ValueError as err:
        raise InputError(f"{what} {path}: not valid JSON ({err}); correct the file") from err


def validated(model: type[Model], data: Any, what: str) -> Model:
    """`data` as a checked `model`. Raises InputError with one line for the first thing that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as err:
        raise InputError(f"{what}: {_one_line(model, err.errors()[0])}") from err


def _one_line(model: type[BaseModel], error: ErrorDetails) -> str:
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".")
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        known = _known_keys(model, error["loc"][:-1])
        hint = close_match(name, known) or f"; known keys: {', '.join(known)}"
        return f"unknown key {where!r}{hint}"
    if error["type"] == "missing":
        return f"key {where!r} is missing; add it"
    if error["type"] == "too_short":
        return f"{where!r} has too few entries: give at least {error['ctx']['min_length']}, or leave it out"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where or 'content'}: {message}, got {_short(error['input'])}"


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that the model at `location` inside `model` takes; follows nested models by field name."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = _nested_model(field.annotation) if field is not None else None
        model = nested or model
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        nested = _nested_model(argument)
        if nested is not None:
            return nested
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
