"""The one error type that users of crossem are meant to read."""


class InputError(ValueError):
    """A wrong input: one line that names the thing, its value and the remedy."""
