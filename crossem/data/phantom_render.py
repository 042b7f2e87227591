"""The two microscopes of the synthetic phantom: the same kind of tissue, seen as FIB-SEM and as ssTEM."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from crossem.data.phantom_tissue import Tissue, smooth_noise


@dataclass(frozen=True)
class Stain:
    """Grey values of a preparation, 0..255.

    Attributes:
        cytoplasm, glia, mitochondria: mean grey of each.
        membrane: grey in the middle of a cell membrane; `membrane_nm` its width (standard deviation).
        outline: grey of a mitochondrion's outer membrane.
        cristae: amplitude of the cristae around the mitochondrial grey.
        spots: how much darker vesicles and synapses are.
        cells: standard deviation of the grey between cells.
        grain: standard deviation of the cytoplasm's texture; `grain_nm` its scale.
    """

    cytoplasm: float
    glia: float
    mitochondria: float
    membrane: float
    membrane_nm: float
    outline: float
    cristae: float
    spots: float
    cells: float
    grain: float
    grain_nm: float


FIB_SEM = Stain(
    cytoplasm=172,
    glia=150,
    mitochondria=104,
    membrane=82,
    membrane_nm=13,
    outline=74,
    cristae=14,
    spots=62,
    cells=7,
    grain=9,
    grain_nm=32,
)
SS_TEM = Stain(
    cytoplasm=186,
    glia=156,
    mitochondria=122,
    membrane=38,
    membrane_nm=10,
    outline=84,
    cristae=30,
    spots=80,
    cells=9,
    grain=20,
    grain_nm=22,
)
SECTION_SAMPLES = 3
"""Layers of tissue whose mean is one section of the target."""


def render_source(tissue: Tissue, rng: np.random.Generator) -> np.ndarray:
    """uint8 (Z, Y, X): smooth, low-noise FIB-SEM, mitochondria clearly darker than the cytoplasm."""
    grey = gaussian_filter(_paint(tissue, FIB_SEM, rng), 5.0 / np.asarray(tissue.voxel_size_zyx_nm))
    grey += 9 * rng.standard_normal(grey.shape, dtype=np.float32)
    grey += 3 * smooth_noise(grey.shape, 1000 / np.asarray(tissue.voxel_size_zyx_nm), rng)
    return _to_uint8(grey)


def render_target(tissue: Tissue, rng: np.random.Generator) -> tuple[np.ndarray, Tissue]:
    """Cut the tissue into sections and image them as ssTEM does.

    A section is the mean of three layers. Each has its own brightness, contrast, gamma and focus; some
    are shifted by up to four pixels (the labels with them) and one is missing: black but for noise.

    Returns:
        The uint8 image (Z // 3, Y, X) and the tissue on the grid of the image, labels from the middle layers.
    """
    grey = _paint(tissue, SS_TEM, rng)
    sections = grey.shape[0] // SECTION_SAMPLES
    grey = grey[: sections * SECTION_SAMPLES].reshape(sections, SECTION_SAMPLES, *grey.shape[1:]).mean(axis=1)
    missing = int(rng.integers(sections // 4, sections - sections // 4))
    for z in range(sections):
        grey[z] = _photograph(grey[z], rng) if z != missing else rng.normal(4, 2, grey[z].shape)
    shifts = np.where(rng.random((sections, 1)) < 0.2, rng.integers(-4, 5, (sections, 2)), 0)
    return _shift(_to_uint8(grey), shifts), _sections(tissue, sections, shifts)


def _paint(tissue: Tissue, stain: Stain, rng: np.random.Generator) -> np.ndarray:
    """float32 grey values of stained tissue, without the microscope."""
    voxel = np.asarray(tissue.voxel_size_zyx_nm)
    shape = tissue.cells.shape
    base = stain.cytoplasm + stain.cells * rng.standard_normal(len(tissue.glia))
    base[tissue.glia] += stain.glia - stain.cytoplasm
    grey = base.astype(np.float32)[tissue.cells]
    grey += stain.grain * smooth_noise(shape, stain.grain_nm / voxel, rng)
    grey -= np.abs(stain.grain * smooth_noise(shape, 110 / voxel, rng))
    _paint_mitochondria(grey, tissue, stain, rng)
    grey -= stain.spots * tissue.spots
    membrane = np.exp(-0.5 * (tissue.boundary_nm / stain.membrane_nm) ** 2)
    grey += membrane * (stain.membrane - grey)
    return grey


def _paint_mitochondria(grey: np.ndarray, tissue: Tissue, stain: Stain, rng: np.random.Generator) -> None:
    """Matrix, folded cristae of one orientation each, and the double membrane, in place."""
    near = np.flatnonzero(tissue.depth_nm.ravel() > -20)
    depth, ids = tissue.depth_nm.ravel()[near], tissue.mitochondria.ravel()[near]
    voxel = np.asarray(tissue.voxel_size_zyx_nm, dtype=np.float32)
    normals = rng.standard_normal((int(ids.max(initial=0)) + 1, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    position = np.stack(np.unravel_index(near, grey.shape), axis=-1) * voxel
    folds = 34 * smooth_noise(grey.shape, 110 / voxel, rng).ravel()[near]
    patches = smooth_noise(grey.shape, 90 / voxel, rng).ravel()[near]
    strength = stain.cristae * np.clip(0.8 + 0.6 * patches, 0, 2)
    spacing = rng.uniform(42, 60, len(normals)).astype(np.float32)[ids]
    wave = np.cos(2 * np.pi * ((position * normals[ids]).sum(axis=1) + folds) / spacing)
    matrix = rng.normal(stain.mitochondria, stain.cells, len(normals))[ids]
    inside = np.clip(depth / 12, 0, 1)  # the outline falls between voxels
    tone = matrix - strength * wave * np.clip((depth - 22) / 20, 0, 1)
    grey.ravel()[near] += inside * (tone - grey.ravel()[near])
    for centre, width, weight in ((4, 8, 1.0), (24, 6, 0.5)):  # outer and inner membrane
        ring = weight * np.exp(-0.5 * ((depth - centre) / width) ** 2)
        grey.ravel()[near] += ring * (stain.outline - grey.ravel()[near])


def _photograph(section: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One section under the microscope: focus, noise, then contrast, brightness and gamma of that day."""
    image = gaussian_filter(section, rng.choice([0.4, 0.6, 1.1], p=[0.5, 0.35, 0.15]))
    image += gaussian_filter(rng.normal(0, 20, image.shape), 0.55) + rng.normal(0, 8, image.shape)
    image = 128 + rng.normal(1, 0.06) * (image - 128) + rng.normal(0, 6)
    return 255 * np.clip(image / 255, 0, 1) ** rng.normal(1.15, 0.05)


def _shift(volume: np.ndarray, shifts_yx: np.ndarray) -> np.ndarray:
    """Each slice moved by whole pixels, reflected at the border."""
    shifted = volume.copy()
    for z, (dy, dx) in enumerate(shifts_yx):
        if dy or dx:
            padded = np.pad(volume[z], 4, mode="reflect")
            shifted[z] = padded[4 - dy :, 4 - dx :][: volume.shape[1], : volume.shape[2]]
    return shifted


def _sections(tissue: Tissue, sections: int, shifts_yx: np.ndarray) -> Tissue:
    """The middle layer of each section, moved as the image was."""
    middle = slice(SECTION_SAMPLES // 2, sections * SECTION_SAMPLES, SECTION_SAMPLES)
    arrays = ("cells", "boundary_nm", "mitochondria", "depth_nm", "spots")
    z, y, x = tissue.voxel_size_zyx_nm
    return replace(
        tissue,
        voxel_size_zyx_nm=(z * SECTION_SAMPLES, y, x),
        **{name: _shift(getattr(tissue, name)[middle], shifts_yx) for name in arrays},
    )


def _to_uint8(grey: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
