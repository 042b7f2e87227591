"""Segmentations of a comparison side by side, as small pictures for a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from crossem.metrics.confusion import IGNORED_LABEL
from crossem.report.overlay import checked_labels, overlay_rgb, spaced_slices
from crossem.report.picture import Picture, embedded_picture

_LONGEST_SIDE = 400  # pixels: two slices of twenty methods stay below 3 MB
_SLICES_SHOWN = 2


def overlay_panels(
    image: np.ndarray,
    truth: np.ndarray | None,
    overlays: Mapping[str, np.ndarray],
    captions: Mapping[str, str],
) -> dict[int, list[Picture]]:
    """Slice -> pictures of the image, the truth and each segmentation, for evenly spaced slices.

    Args:
        image: (Z, Y, X) grey values.
        truth: (Z, Y, X) class indices, or None for no such picture; unlabelled voxels (255) stay uncoloured.
        overlays: title -> (Z, Y, X) class indices.
        captions: title -> text below the picture; the title itself where there is none.

    Raises:
        InputError: the image is no volume, or another volume is not of its shape.
    """
    known = None if truth is None else np.where(truth == IGNORED_LABEL, 0, truth)
    labels = checked_labels(image, known, overlays)
    slices = spaced_slices(len(image), _SLICES_SHOWN)
    return {z: _panels(image[z], z, {title: label[z] for title, label in labels.items()}, captions) for z in slices}


def _panels(image: np.ndarray, z: int, labels: Mapping[str, np.ndarray], captions: Mapping[str, str]) -> list[Picture]:
    grey = _smaller(overlay_rgb(image)[..., 0], Image.Resampling.LANCZOS)
    panels = [_picture(overlay_rgb(grey), f"image, slice z = {z}", "image")]
    for title, label in labels.items():
        # made smaller before the outlines are drawn: these stay one pixel wide
        rgb = overlay_rgb(grey, _smaller(label.astype(np.uint8), Image.Resampling.NEAREST))
        panels.append(_picture(rgb, f"{title} over the image, slice z = {z}", captions.get(title, title)))
    return panels


def _smaller(plane: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    picture = Image.fromarray(plane)
    scale = min(1.0, _LONGEST_SIDE / max(picture.size))
    return np.asarray(picture.resize(_scaled(picture.size, scale), resampling))


def _scaled(size: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _picture(rgb: np.ndarray, alt: str, caption: str) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=85, subsampling=0)
    return embedded_picture(buffer.getvalue(), "image/jpeg", alt, caption)
