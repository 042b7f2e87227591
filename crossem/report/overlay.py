"""Labels drawn over an image, as figures and as arrays for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from crossem.errors import InputError
from crossem.io import atomic_output, check_output_folder

Array = np.ndarray | torch.Tensor

# Okabe & Ito 2008, "Color Universal Design": told apart in every common form of colour blindness.
CLASS_COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    dtype=np.uint8,
)
_OPACITY = 0.4
_SLICES_SHOWN = 3
_PANEL_INCHES = 3.0


def overlay_rgb(image: Array, label: Array | None = None) -> np.ndarray:
    """Translucent class colours with solid outlines over a grey image.

    Args:
        image: (Y, X) or (Z, Y, X) grey values; uint8 as they are, other types stretched to their range.
        label: class indices of the same shape; 0 stays uncoloured. None for the image alone.

    Returns:
        uint8 of the image's shape + (3,).

    Raises:
        InputError: image and label differ in shape.
    """
    image = _array(image)
    label = np.zeros(image.shape, np.uint8) if label is None else _array(label)
    if image.shape != label.shape:
        raise InputError(f"image of shape {image.shape} and label of shape {label.shape}; give the same grid")
    rgb = np.repeat(_grey(image)[..., None], 3, axis=-1)
    label = label.astype(np.int64)
    colour = CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
    inside, outline = label != 0, _outlines(label)
    rgb[inside] = ((1 - _OPACITY) * rgb[inside] + _OPACITY * colour[inside]).astype(np.uint8)
    rgb[outline] = colour[outline]
    return rgb


def overlay_slices(
    image: Array,
    truth: Array | None = None,
    predictions: Mapping[str, Array] | None = None,
    slices: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """A row a slice; columns for the raw image, the truth and each prediction.

    Args:
        image: (Z, Y, X) grey values.
        truth: (Z, Y, X) class indices, or None for no such column.
        predictions: column title -> (Z, Y, X) class indices; put a score in the title, "DANN, IoU 0.50".
        slices: z indices; None takes three, evenly spaced and not the ends.
        class_names: background first; names the colours below the figure.
        title: above the figure.

    Raises:
        InputError: a volume is not of the image's shape, or a slice is outside the stack.
    """
    image = _array(image)
    labels = checked_labels(image, truth, predictions or {})
    columns = {"image": np.zeros(image.shape, dtype=np.uint8)} | labels
    depth = len(image)
    if slices is None:
        slices = spaced_slices(depth, _SLICES_SHOWN)
    if not slices or not all(0 <= z < depth for z in slices):
        raise InputError(f"slices are {list(slices)}; give z indices from 0 to {depth - 1}")
    figure = _new_figure(len(slices), len(columns), image.shape[1] / image.shape[2])
    axes = figure.subplots(len(slices), len(columns), squeeze=False)
    for row, z in zip(axes, slices, strict=True):
        for axis, (name, label) in zip(row, columns.items(), strict=True):
            axis.imshow(overlay_rgb(image[z], label[z]), interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.set_title(name if z == slices[0] else "", fontsize=9)
        row[0].set_ylabel(f"z = {z}", fontsize=9)
    _explain(figure, class_names, title)
    return figure


def checked_labels(image: np.ndarray, truth: Array | None, predictions: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """The truth, if there is one, and the predictions, by name.

    Raises InputError when the image is no (Z, Y, X) volume, or another volume is not of its shape.
    """
    if image.ndim != 3:
        raise InputError(f"image of shape {image.shape}; give a (Z, Y, X) volume")
    named = ({} if truth is None else {"truth": truth}) | dict(predictions)
    labels = {name: _array(label) for name, label in named.items()}
    for name, label in labels.items():
        if label.shape != image.shape:
            raise InputError(f"{name} has shape {label.shape}, the image {image.shape}; give the same grid")
    return labels


def spaced_slices(depth: int, count: int) -> list[int]:
    """So many z indices, evenly spaced and not the ends; fewer of a thin stack."""
    return sorted({(i + 1) * depth // (count + 1) for i in range(count)})


def class_colours(count: int) -> np.ndarray:
    """(count, 3) RGB values from 0 to 1 of the foreground classes; they repeat when there are many."""
    return CLASS_COLOURS[np.arange(count) % len(CLASS_COLOURS)] / 255


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, whole or not at all; return the path.

    Raises InputError when the name does not end in .png or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"figure {path}; give a file name that ends in .png")
    check_output_folder(path.parent)
    with atomic_output(path, path.suffix) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def _new_figure(rows: int, columns: int, height_to_width: float) -> Figure:
    """A figure on its own Agg canvas: pyplot's global state is left alone."""
    size = (columns * _PANEL_INCHES, rows * _PANEL_INCHES * height_to_width + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _explain(figure: Figure, class_names: Sequence[str] | None, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=11)
    foreground = list(class_names or [])[1:]
    if foreground:
        handles = [figure.axes[0].plot([], [], "s", color=c)[0] for c in class_colours(len(foreground))]
        figure.legend(handles, foreground, loc="outside lower center", ncols=len(foreground), frameon=False)


def _outlines(label: np.ndarray) -> np.ndarray:
    """The innermost line of pixels of each class, slice by slice."""
    planes = label.reshape(-1, *label.shape[-2:])
    return np.stack([find_boundaries(p, mode="inner", background=0) for p in planes]).reshape(label.shape)


def _grey(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    image = np.nan_to_num(image.astype(np.float32))
    low, high = image.min(initial=np.inf), image.max(initial=-np.inf)
    return ((image - low) * (255 / max(high - low, 1e-6))).round().astype(np.uint8)


def _array(volume: Array) -> np.ndarray:
    return volume.detach().cpu().float().numpy() if _is_float(volume) else np.asarray(volume)


def _is_float(volume: Array) -> bool:
    return isinstance(volume, torch.Tensor) and volume.is_floating_point()
