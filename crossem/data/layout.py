"""Which files of a dataset are on disk, whichever of its layouts they follow."""

from pathlib import Path

from crossem.data.registry import Dataset, Part, RegionZyx, Volume
from crossem.errors import InputError

SLICE_SUFFIXES = (".png", ".tif", ".tiff")


def files_under(folder: Path, path: str) -> list[str]:
    """Files that `path` in `folder` stands for, relative to it: itself, or its slices; [] when absent."""
    found = folder / path
    if found.is_file():
        return [path]
    if found.is_dir():
        return [f"{path}/{entry.name}" for entry in sorted(found.iterdir()) if entry.suffix.lower() in SLICE_SUFFIXES]
    return []


def present_layout(volume: Volume, folder: Path) -> list[Part] | None:
    """The first layout of `volume` whose images and annotations are all in `folder`, else None."""
    for layout in volume.layouts:
        if all(files_under(folder, path) for part in layout for path in part_paths(part)):
            return layout
    return None


def part_paths(part: Part) -> list[str]:
    """Paths of the image and of every annotation of a part."""
    return [part.image, *part.annotations.values()]


def present_files(dataset: Dataset, folder: Path) -> list[str]:
    """Every file of the volumes that are in `folder`, relative to it, in the layout that they have there."""
    layouts = [present_layout(volume, folder) or [] for volume in dataset.volumes.values()]
    paths = [path for layout in layouts for part in layout for path in part_paths(part)]
    return [file for path in dict.fromkeys(paths) for file in files_under(folder, path)]


def missing_files(dataset: Dataset, folder: Path) -> list[str]:
    """Files that `folder` lacks: those of absent volumes that are not optional, and gaps in slice folders."""
    expected: list[str] = []
    for volume in dataset.volumes.values():
        layout = present_layout(volume, folder) or ([] if volume.optional else volume.layouts[0])
        expected += [path for part in layout for path in part_paths(part)]
    published = [file.path for file in dataset.files]
    wanted = {file for file in published if any(file == path or file.startswith(path + "/") for path in expected)}
    absent = [file for file in published if file in wanted and not (folder / file).is_file()]
    unlisted = [
        path
        for path in expected
        if not files_under(folder, path)
        and path not in absent
        and not any(file.startswith(path + "/") for file in absent)
    ]
    return absent + unlisted


def is_complete(dataset: Dataset, folder: Path) -> bool:
    """True when the dataset has volumes, and every one that is not optional is in `folder`."""
    needed = [volume for volume in dataset.volumes.values() if not volume.optional]
    return bool(needed) and all(present_layout(volume, folder) is not None for volume in needed)


def region_in_part(region_zyx: RegionZyx | None, part: Part, shape_zyx: tuple[int, ...]) -> list[list] | None:
    """`region_zyx` of a volume of `shape_zyx`, in the voxels of `part`; None when the two do not meet.

    An end that coincides with the end of the part is null, so that the whole part is [[null, null]] * 3.
    """
    region = region_zyx or ((None, None),) * 3
    result = []
    for axis, (start, stop) in enumerate(region):
        if (start or 0) < 0 or (stop is not None and stop < 0):
            raise InputError(f"region {list(region)} counts from the end; give positions from 0 to {shape_zyx}")
        size = (part.shape_zyx or shape_zyx)[axis]
        origin = part.origin_zyx[axis]
        low = max((start or 0) - origin, 0)
        high = min((shape_zyx[axis] if stop is None else stop) - origin, size)
        if low >= high:
            return None
        result.append([low or None, None if high == size else high])
    return result
