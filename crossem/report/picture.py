"""A picture as part of a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, a text that stands for it, and what is written below it."""

    uri: str
    alt: str
    caption: str


def embedded_picture(content: bytes, media_type: str, alt: str, caption: str) -> Picture:
    """The picture of a file's content, of media type "image/jpeg" or the like."""
    return Picture(f"data:{media_type};base64,{base64.b64encode(content).decode()}", alt, caption)
