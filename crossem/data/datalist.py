"""Datalists: the JSON files that name the volumes of a source and a target domain, split by split."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

from crossem.data._validation import close_match, read_json, validated
from crossem.data.registry import Domain, SplitName, VoxelSizeZyxNm
from crossem.errors import InputError
from crossem.io import read_voxel_size_zyx_nm, split_location

Slice = tuple[StrictInt | None, StrictInt | None]


def _not_empty(bounds: Slice) -> Slice:
    start, stop = bounds
    if start is not None and stop is not None and (start >= 0) == (stop >= 0) and start >= stop:
        raise ValueError(f"start {start} is not below stop {stop}; a region holds one voxel or more an axis")
    return bounds


CheckedSlice = Annotated[Slice, AfterValidator(_not_empty)]


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: Annotated[str, Field(min_length=1)]
    label: Annotated[str, Field(min_length=1)] | None = None
    voxel_size_zyx_nm: VoxelSizeZyxNm | None = None
    region_zyx: tuple[CheckedSlice, CheckedSlice, CheckedSlice] | None = None


_Items = Annotated[list[_Item], Field(min_length=1)]


class _Splits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    training: _Items | None = None
    validation: _Items | None = None
    test: _Items | None = None
    unlabelled: _Items | None = None


class _Datalist(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classes: Annotated[list[str], Field(min_length=2)]
    name: str | None = None
    title: str | None = None
    provenance: dict[str, dict[str, Any]] = {}
    source: _Splits | None = None
    target: _Splits | None = None


def load_datalist(path: str | Path) -> dict[str, Any]:
    """Read and check a datalist; paths in it become absolute (they are relative to the file's folder).

    Returns {"name", "classes", "source": {split: [item]}, "target": ..., "provenance", ...} without the keys
    that the file leaves out. An item has "image" and, where given, "label", "voxel_size_zyx_nm" (nm) and
    "region_zyx" ([[z0, z1], [y0, y1], [x0, x1]], Python slices in voxels of the file). Raises InputError, in
    one line, for a file that is missing, no JSON, has an unknown or missing key, an empty split, a wrong
    region, or names images or labels that are not there.
    """
    path = Path(path).absolute()
    if not path.is_file():
        remedy = "give another path, or write it with tools/fetch_datasets.py"
        raise InputError(f"datalist {path} does not exist{_nearby(path)}; {remedy}")
    content = validated(_Datalist, read_json(path, "datalist"), f"datalist {path}")
    datalist = content.model_dump(mode="json", exclude_none=True, exclude={"source", "target"})
    datalist.setdefault("name", path.stem)
    missing: list[str] = []
    for domain in ("source", "target"):
        splits: _Splits | None = getattr(content, domain)
        if splits is not None:
            datalist[domain] = {
                split: [_resolved(item, path.parent, missing) for item in items]
                for split in type(splits).model_fields
                if (items := getattr(splits, split)) is not None
            }
    if not datalist.get("source") and not datalist.get("target"):
        raise InputError(f"datalist {path} names no volumes; add a split such as source.training")
    if missing:
        first = Path(missing[0])
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"datalist {path}: file {first} does not exist{more}{_nearby(first)}")
    return datalist


def datalist_items(
    datalist: dict[str, Any], domain: Domain = "source", split: SplitName = "training", labelled: bool = True
) -> list[dict[str, Any]]:
    """The items of one split of a loaded datalist, as new dictionaries.

    `labelled` True asks for a label in every item; False leaves labels out, so that an unsupervised method
    cannot see them. Raises InputError when the split is not there, or a label is asked for and missing.
    """
    name = datalist.get("name", "datalist")
    items = datalist.get(domain, {}).get(split, [])
    if not items:
        present = [f"{d}.{s}" for d in ("source", "target") for s in datalist.get(d, {})]
        raise InputError(f"datalist {name} has no items in {domain}.{split}; it has {', '.join(present) or 'none'}")
    if not labelled:
        return [{key: value for key, value in item.items() if key != "label"} for item in items]
    bare = [item["image"] for item in items if "label" not in item]
    if bare:
        raise InputError(
            f"datalist {name}: {len(bare)} of {len(items)} items in {domain}.{split} have no label "
            f'(first: {bare[0]}); add "label" to them, or train on the other domain'
        )
    return [dict(item) for item in items]


def target_items(datalist: dict[str, Any], label_fraction: float, unlabelled: bool = False) -> list[dict[str, Any]]:
    """The target's training items for a method that adapts to it: with labels only if a fraction of them is used.

    With `unlabelled`, the images of target.unlabelled, if any, are added where no labels are used.

    Raises InputError when there are no such items, or `label_fraction` is above 0 and they have no labels.
    """
    items = datalist_items(datalist, "target", "training", labelled=False)
    if label_fraction == 0:
        more = unlabelled and "unlabelled" in datalist["target"]
        return items + (datalist_items(datalist, "target", "unlabelled", labelled=False) if more else [])
    if not all("label" in item for item in datalist["target"]["training"]):
        raise InputError(
            f"label_fraction is {label_fraction}, give 0 to use no target labels: items of target.training in datalist "
            f"{datalist.get('name', 'datalist')} have no label"
        )
    return datalist_items(datalist, "target", "training")


def validation_domain(datalist: dict[str, Any]) -> Domain:
    """The domain that a training with adaptation is validated on: the target where it has labels for that."""
    items = datalist.get("target", {}).get("validation", [])
    return "target" if items and all("label" in item for item in items) else "source"


def expand_z_phases(items: list[dict[str, Any]], phases: int, working_voxel_z_nm: float) -> list[dict[str, Any]]:
    """Repeat items at several starts in z, so that downsampling makes other coarse slices of each copy.

    With ratio = working_voxel_z_nm / the item's own z size, copy k of `phases` starts round(k * ratio /
    phases) slices later in "region_zyx"; starts that round to the same slice are taken once, and an item
    whose ratio is below 2 once in all. Raises InputError when `phases` is below 1, neither item nor
    file gives a voxel size, or its region is too short to shift.
    """
    if phases < 1:
        raise InputError(f"z phases is {phases}; give 1 (no extra copies) or more")
    expanded = []
    for item in items:
        size_zyx_nm = item.get("voxel_size_zyx_nm") or read_voxel_size_zyx_nm(item["image"])
        ratio = working_voxel_z_nm / size_zyx_nm[0]
        shifts = sorted({round(k * ratio / phases) for k in range(phases)}) if ratio >= 2 else [0]
        expanded += [_shifted(item, shift) for shift in shifts]
    return expanded


def _shifted(item: dict[str, Any], shift: int) -> dict[str, Any]:
    """A copy of `item` whose region starts `shift` slices later."""
    if shift == 0:
        return dict(item)
    (start, stop), *in_plane = item.get("region_zyx") or [[None, None]] * 3
    moved = (start or 0) + shift
    crossed_end = start is not None and start < 0 <= moved
    if crossed_end or (stop is not None and (moved >= 0) == (stop >= 0) and moved >= stop):
        raise InputError(
            f"region_zyx z [{start}, {stop}] of {item['image']} is too short to start {shift} slices "
            "later; use fewer z phases"
        )
    return {**item, "region_zyx": [[moved, stop], *in_plane]}


def _resolved(item: _Item, folder: Path, missing: list[str]) -> dict[str, Any]:
    """The item with absolute paths; what does not exist is added to `missing`."""
    resolved = item.model_dump(mode="json", exclude_none=True)
    if item.region_zyx is not None:  # a null in a region is a bound, not an absent key
        resolved["region_zyx"] = [list(bounds) for bounds in item.region_zyx]
    keys: tuple[Literal["image", "label"], ...] = ("image", "label")
    for key in keys:
        if key in resolved:
            resolved[key] = str(folder / resolved[key])
            file = split_location(resolved[key]).file  # without the /dataset in an HDF5 file
            if not file.exists():
                missing.append(str(file))
    return resolved


def _nearby(path: Path) -> str:
    """A hint for a path that does not exist: the nearest name in the deepest folder of it that does."""
    parent, name = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    hint = close_match(name, sorted(entry.name for entry in parent.iterdir()))
    place = "" if parent == path.parent else f" (there is no {name!r} in {parent})"
    return f"{place}{hint}" if hint or place else f"; looked in {parent}"
