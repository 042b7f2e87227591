"""The geometry of the synthetic phantom: neurites, glia, mitochondria, vesicles and synapses."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import edt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

_COARSE_NM = 20.0  # shapes are laid out on voxels of at most this size, then refined
_NEURITES_PER_UM3 = 6.0
_BLOCK = 8  # voxels; the neurites that reach a block are few
_STEP_NM = 50.0  # between the points of a neurite's path
_MARGIN_NM = 250.0  # neurites start in and leave through a margin around the volume
_GLIA_SHARE = 0.05
_SHEET_NM = 60.0
_TRIES = 4  # places for a mitochondrion about each point of a path
_MITOCHONDRION_RADIUS_NM = (95.0, 175.0)
_MEMBRANE_NM = 10.0  # half the thickness of the two membranes between two cells
_CYTOPLASM_RIM_NM = 22.0  # a mitochondrion stays this far inside its cell


@dataclass(frozen=True)
class Tissue:
    """What is where; all arrays are (Z, Y, X).

    Attributes:
        voxel_size_zyx_nm: the grid's voxel size.
        cells: uint16 ids from 1, one a neuron or glial cell; every voxel belongs to one.
        glia: (largest cell id + 1,) bool, True where the id is a glial cell.
        boundary_nm: float32 distance to the nearest boundary between two cells.
        mitochondria: uint16 ids from 1; 0 = none. Each lies in one cell.
        depth_nm: float32, how deep inside a mitochondrion's outline; negative outside.
        spots: float32 0..1, how much of a vesicle or of a synaptic density is there.
    """

    voxel_size_zyx_nm: tuple[float, float, float]
    cells: np.ndarray
    glia: np.ndarray
    boundary_nm: np.ndarray
    mitochondria: np.ndarray
    depth_nm: np.ndarray
    spots: np.ndarray

    @property
    def boundaries(self) -> np.ndarray:
        """uint8, 1 on the membranes between cells (20 nm thick, at least a voxel on either side)."""
        return (self.boundary_nm < max(_MEMBRANE_NM, self.voxel_size_zyx_nm[2])).astype(np.uint8)

    @property
    def classes4(self) -> np.ndarray:
        """uint8: 0 boundary, 1 cytoplasm, 2 mitochondria, 3 glia."""
        classes = np.where(self.glia[self.cells], np.uint8(3), np.uint8(1))
        classes[self.boundaries > 0] = 0
        classes[self.mitochondria > 0] = 2
        return classes


def generate_tissue(
    shape_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    rng: np.random.Generator,
    mitochondria_scale: float = 1.0,
    mitochondria_share: float = 0.075,
) -> Tissue:
    """Grow a block of nervous tissue.

    Args:
        shape_zyx: voxels.
        voxel_size_zyx_nm: voxel size, at most 20 nm along each axis.
        rng: the only source of randomness.
        mitochondria_scale: multiplies their diameter, 190-350 nm at 1.
        mitochondria_share: share of the volume to fill with mitochondria, where the cells have room.
    """
    voxel = np.asarray(voxel_size_zyx_nm, dtype=float)
    factor = np.maximum(1, _COARSE_NM // voxel).astype(int)
    coarse_shape, coarse_voxel = -(-np.asarray(shape_zyx) // factor), voxel * factor
    extent_nm = coarse_shape * coarse_voxel
    paths, radii = _grow_neurites(extent_nm, rng)
    cells = _fill_space(paths, radii, coarse_shape, coarse_voxel, rng)
    cells, glia = _add_glia(cells, radii, coarse_voxel, rng)
    room_nm = _distance_to_boundary(cells, coarse_voxel)
    ids, depth_nm = _place_mitochondria(
        paths, glia, (cells, room_nm), coarse_voxel, rng, mitochondria_scale, mitochondria_share
    )

    refine = _Refine(tuple(shape_zyx), tuple(factor))
    cells, ids, depth_nm = refine.nearest(cells), refine.nearest(ids), refine.linear(depth_nm)
    boundary_nm = gaussian_filter(_distance_to_boundary(cells, voxel), 8.0 / voxel)
    ids[depth_nm <= 0] = 0
    depth_nm[(ids == 0) & (depth_nm > 0)] = 0
    spots = _place_spots(cells, boundary_nm, ids, glia, voxel, rng)
    return Tissue(tuple(voxel), cells, glia, boundary_nm, ids, depth_nm, spots)


def smooth_noise(shape_zyx: Sequence[int], scale_zyx: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """float32 noise of zero mean and unit variance that varies over `scale_zyx` voxels."""
    scale = np.maximum(np.asarray(scale_zyx, dtype=float), 1.0)
    coarse = tuple(np.ceil(2 * np.asarray(shape_zyx) / scale).astype(int) + 2)
    noise = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.0)
    return resize_linear((noise - noise.mean()) / noise.std(), shape_zyx)


def resize_linear(field: np.ndarray, shape_zyx: Sequence[int]) -> np.ndarray:
    """A float32 field interpolated linearly to another shape (torch's is ten times faster than scipy's)."""
    tensor = torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))[None, None]
    size = tuple(int(s) for s in shape_zyx)
    return torch.nn.functional.interpolate(tensor, size, mode="trilinear", align_corners=False)[0, 0].numpy()


@dataclass(frozen=True)
class _Refine:
    """From the coarse to the fine grid."""

    shape: tuple[int, ...]
    factor: tuple[int, ...]

    def nearest(self, labels: np.ndarray) -> np.ndarray:
        for axis, times in enumerate(self.factor):
            labels = labels.repeat(times, axis=axis)
        return self._crop(labels)

    def linear(self, field: np.ndarray) -> np.ndarray:
        return self._crop(resize_linear(field, np.multiply(field.shape, self.factor)))

    def _crop(self, volume: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(volume[tuple(slice(s) for s in self.shape)])


def _grow_neurites(extent_nm: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Paths (n, 3) in nm and radii (n,) of tubes that cross the volume, thin axons to thick dendrites."""
    low, high = -_MARGIN_NM, extent_nm + _MARGIN_NM
    count = max(6, round(_NEURITES_PER_UM3 * np.prod((high - low) / 1000)))
    steps = int(np.linalg.norm(high - low) / _STEP_NM)
    paths, radii = [], []
    for start in rng.uniform(low, high, (count, 3)):
        halves = []
        heading = rng.normal(size=3)
        for sign in (1, -1):
            turns = gaussian_filter(rng.normal(size=(steps, 3)), (4, 0)) * 1.6
            headings = sign * heading / np.linalg.norm(heading) + turns
            headings /= np.linalg.norm(headings, axis=1, keepdims=True)
            halves.append(start + np.cumsum(headings * _STEP_NM, axis=0))
        path = np.concatenate([halves[1][::-1], start[None], halves[0]])
        path = path[((path > low) & (path < high)).all(axis=1)]
        radius = np.clip(rng.lognormal(np.log(120), 0.6), 45, 350)
        bumps = gaussian_filter(rng.normal(size=len(path)), 3) * 1.3
        paths.append(path)
        radii.append(radius * np.clip(1 + bumps, 0.55, 1.8))
    return paths, radii


def _fill_space(
    paths: list[np.ndarray],
    radii: list[np.ndarray],
    shape: np.ndarray,
    voxel: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """uint16 ids (1 = first path): the power diagram of the path points, seen through a warped space.

    A voxel x goes to the point p of least power |x - p|^2 - r^2. Block by block, only the points that can win
    somewhere in the block are compared (a k-d tree over the lifted points is ten times slower).
    """
    points, radius = np.concatenate(paths).astype(np.float32), np.concatenate(radii).astype(np.float32)
    owner = np.repeat(np.arange(1, len(paths) + 1, dtype=np.uint16), [len(p) for p in paths])
    x = np.empty((*shape, 3), dtype=np.float32)
    for axis in range(3):
        ticks = (np.arange(shape[axis]) + 0.5) * voxel[axis]
        warp = 45 * smooth_noise(shape, 250 / voxel, rng) + 9 * smooth_noise(shape, 70 / voxel, rng)
        x[..., axis] = warp + ticks.reshape([-1 if a == axis else 1 for a in range(3)])
    cells = np.empty(shape, dtype=np.uint16)
    for corner in itertools.product(*(range(0, s, _BLOCK) for s in shape)):
        block = tuple(slice(c, c + _BLOCK) for c in corner)
        cells[block] = owner[_least_power(x[block], points, radius)]
    return cells


def _least_power(x: np.ndarray, points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Index of the point of least power for each position of a small block (..., 3)."""
    centre = x.reshape(-1, 3).mean(axis=0)
    x = x - centre
    points = points - centre
    reach = np.sqrt((x**2).sum(axis=-1).max())
    distance = np.sqrt((points**2).sum(axis=1))
    bound = ((distance + reach) ** 2 - radius**2).min()
    near = np.flatnonzero(np.maximum(distance - reach, 0) ** 2 - radius**2 <= bound)
    constant = distance[near] ** 2 - radius[near] ** 2
    return near[np.argmin(constant - 2 * (x @ points[near].T), axis=-1)]


def _distance_to_boundary(cells: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """float32 nm to the interface with another cell; edt measures to the other cell's first voxel."""
    distance = edt.edt(cells, anisotropy=tuple(voxel), parallel=2) - voxel[2] / 2
    return np.minimum(distance, 1000, dtype=np.float32)


def _add_glia(
    cells: np.ndarray, radii: list[np.ndarray], voxel: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Some cells become glia, and thin sheets of one more glial cell wrap the thickest neurites in part."""
    ids = len(radii)
    glia = np.zeros(ids + 2, dtype=bool)
    glia[1:-1] = rng.random(ids) < _GLIA_SHARE
    glia[-1] = True
    thickness = np.array([0, *(r.mean() for r in radii), 0])
    wrapped = (thickness > np.quantile(thickness, 0.75)) & ~glia
    here = smooth_noise(cells.shape, 500 / voxel, rng) > 0.5
    sheet = wrapped[cells] & here & (_distance_to_boundary(cells, voxel) < _SHEET_NM)
    return np.where(sheet, np.uint16(ids + 1), cells), glia


def _place_mitochondria(
    paths: list[np.ndarray],
    glia: np.ndarray,
    space: tuple[np.ndarray, np.ndarray],
    voxel: np.ndarray,
    rng: np.random.Generator,
    scale: float,
    share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and depth in nm of bent tubes along the paths of neurites, until they fill the share.

    The ids reach two voxels beyond the outline, so that the refined depth alone decides where it runs.
    """
    cells, room_nm = space
    ids = np.zeros(cells.shape, dtype=np.uint16)
    depth_nm = np.full(cells.shape, -100, dtype=np.float32)
    starts = [(c, i) for c, p in enumerate(paths) if not glia[c + 1] for i in range(0, len(p), 2)]
    wanted, filled, number = share * cells.size, 0, 0
    for cell, i in rng.permutation(np.repeat(np.array(starts), _TRIES, axis=0)):
        if filled >= wanted:
            break
        points = _inside(paths[cell][i : i + rng.integers(5, 20)], cells, voxel, cell + 1)
        index = tuple(np.floor(points / voxel).astype(int).T)
        if len(points) < 4 or ids[index].any():
            continue
        room = np.median(room_nm[index])
        radius = min(scale * rng.uniform(*_MITOCHONDRION_RADIUS_NM), 1.2 * room)
        if radius < 0.7 * scale * _MITOCHONDRION_RADIUS_NM[0]:
            continue
        aside = rng.normal(size=3)
        points = points + aside / np.linalg.norm(aside) * rng.uniform(0, max(0, room - 0.5 * radius))
        box, depth = _tube(points, radius, cells.shape, voxel, rng)
        depth = np.minimum(depth, room_nm[box] - _CYTOPLASM_RIM_NM)
        depth[cells[box] != cell + 1] = -100
        voxels = np.count_nonzero(depth > 0)
        stump = voxels * voxel.prod() < 0.5 * np.pi * radius**2 * 250
        if stump or filled + voxels > 1.2 * wanted or ids[box][depth > -50].any():
            continue
        number += 1
        ids[box][depth > -2 * voxel.max()] = number
        np.maximum(depth_nm[box], depth, out=depth_nm[box])
        filled += voxels
    return ids, depth_nm


def _inside(points: np.ndarray, cells: np.ndarray, voxel: np.ndarray, cell: int) -> np.ndarray:
    """The first run of points that lie in the volume and in the cell."""
    index = np.floor(points / voxel).astype(int)
    valid = ((index >= 0) & (index < cells.shape)).all(axis=1)
    valid[valid] = cells[tuple(index[valid].T)] == cell
    run = np.flatnonzero(~valid)
    first = np.argmax(valid)
    end = run[run > first]
    return points[first : end[0] if end.size else None] if valid.any() else points[:0]


def _tube(
    points: np.ndarray, radius: float, shape: Sequence[int], voxel: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The bounding box of a tube with rounded ends along the points, and the depth in nm inside it."""
    fine = np.linspace(0, len(points) - 1, 3 * len(points))
    points = np.column_stack([np.interp(fine, np.arange(len(points)), p) for p in points.T])
    radii = radius * np.clip(1 + 1.2 * gaussian_filter(rng.normal(size=len(points)), 4), 0.8, 1.2)
    reach = radii.max() + 60
    low = np.maximum(0, np.floor((points.min(axis=0) - reach) / voxel)).astype(int)
    high = np.minimum(shape, np.ceil((points.max(axis=0) + reach) / voxel)).astype(int)
    z, y, x = (((np.arange(a, b) + 0.5) * v).astype(np.float32) for a, b, v in zip(low, high, voxel, strict=True))
    depth = np.full((len(z), len(y), len(x)), -100, dtype=np.float32)
    for (pz, py, px), r in zip(points, radii, strict=True):
        square = ((z - pz) ** 2)[:, None, None] + (((y - py) ** 2)[:, None] + (x - px) ** 2)
        np.maximum(depth, np.float32(r) - np.sqrt(square), out=depth)
    return tuple(map(slice, low, high)), depth


def _place_spots(
    cells: np.ndarray,
    boundary_nm: np.ndarray,
    mitochondria: np.ndarray,
    glia: np.ndarray,
    voxel: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Vesicles (40 nm rings) in clouds beside a synapse, and the density of that synapse on the membrane."""
    spots = np.zeros(cells.shape, dtype=np.float32)
    volume_um3 = np.prod(np.multiply(cells.shape, voxel)) / 1e9
    on_membrane = rng.integers(0, cells.shape, (int(4000 * volume_um3), 3))
    on_membrane = on_membrane[boundary_nm[tuple(on_membrane.T)] < 8][: int(4 * volume_um3) + 1]
    vesicles = []
    for site in on_membrane:
        cell = cells[tuple(site)]
        if glia[cell]:
            continue
        _stamp(spots, site[None], voxel, lambda d: np.clip(1.4 - d / 70, 0, 1), 100, boundary_nm < 24)
        cloud = np.round(site + rng.normal(0, 160, (90, 3)) / voxel).astype(int)
        vesicles.append(cloud[_cell_of(cloud, cells) == cell])
    loose = rng.integers(0, cells.shape, (int(100 * volume_um3), 3))
    centres = np.concatenate([*vesicles, loose])
    index = tuple(centres.T)
    free = (boundary_nm[index] > 28) & (mitochondria[index] == 0) & ~glia[cells[index]]
    _stamp(spots, centres[free], voxel, lambda d: np.exp(-(((d - 15) / 8) ** 2)), 34, mitochondria == 0)
    return spots


def _cell_of(index: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The cell at each index; 0 outside the volume."""
    inside = ((index >= 0) & (index < cells.shape)).all(axis=1)
    found = np.zeros(len(index), dtype=cells.dtype)
    found[inside] = cells[tuple(index[inside].T)]
    return found


def _stamp(
    spots: np.ndarray,
    centres: np.ndarray,
    voxel: np.ndarray,
    profile: Callable[[np.ndarray], np.ndarray],
    reach_nm: float,
    allowed: np.ndarray,
) -> None:
    """Draw `profile(distance in nm)` around each centre, keeping the stronger value, where allowed."""
    half = np.ceil(reach_nm / voxel).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in half), indexing="ij"), -1).reshape(-1, 3)
    distance = np.linalg.norm(offsets * voxel, axis=1)
    offsets, distance = offsets[distance <= reach_nm], distance[distance <= reach_nm]
    index = (centres[:, None] + offsets).reshape(-1, 3)
    value = np.tile(profile(distance).astype(np.float32), len(centres))
    inside = ((index >= 0) & (index < spots.shape)).all(axis=1)
    index, value = tuple(index[inside].T), value[inside]
    np.maximum.at(spots, index, value * allowed[index])
