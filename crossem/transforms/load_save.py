"""Loading and saving volumes as dictionary transforms, in place of MONAI's LoadImaged and SaveImaged."""

import logging
import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import get_equivalent_dtype

from crossem.errors import InputError
from crossem.io import (
    check_output_folder,
    check_voxel_size,
    read_header,
    read_volume,
    split_location,
    suffix_of,
    voxel_size_zyx_nm,
    write_volume,
)
from crossem.io.formats import FORMATS

logger = logging.getLogger(__name__)
_SIZE_TOLERANCE = 0.01
_WITH_DIRECTIONS = tuple(known.name for known in FORMATS if known.module.KEEPS_DIRECTIONS)
_MAX_NAMED_VALUES = 5


class LoadVolumed(MapTransform):
    """Load the files of a datalist item as MetaTensors (C, Z, Y, X), and check them.

    An item may hold "voxel_size_zyx_nm" and "region_zyx" (see `crossem.io.read_volume`), which hold for all
    its keys; `voxel_size_zyx_nm` here is for items that have none. In the result "region_zyx" is written out
    in plain numbers. Images keep their type. Labels become uint8 if they fit; one without a voxel size of its
    own takes the image's.

    keys: the keys to load; those in `label_keys` are labels, the others images.
    num_classes: label values have to be below it; None: any whole number from 0.
    channels: channels that an image has to have; None: any number.

    Raises InputError: what `read_volume` raises; an image with NaN or infinity, or of one value only, or of
    another number of channels; an image and a label of different shapes; label values that are no class.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        num_classes: int | None = None,
        allow_missing_keys: bool = False,
        voxel_size_zyx_nm: Sequence[float] | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self.num_classes, self.channels = num_classes, channels
        self.voxel_size_zyx_nm = None if voxel_size_zyx_nm is None else check_voxel_size(voxel_size_zyx_nm)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        item = dict(data)
        present = list(self.key_iterator(item))
        image_keys = [key for key in present if key not in self.label_keys]
        size = item.get("voxel_size_zyx_nm")
        size = self.voxel_size_zyx_nm if size is None else size
        region = item.get("region_zyx")
        for key in image_keys:
            item[key] = self._load(key, item[key], size, region)
            _check_image(item[key])
            if self.channels not in (None, len(item[key])):
                raise InputError(
                    f"{key} {data[key]} has {len(item[key])} channels, and the network takes {self.channels}: "
                    "give a stack of that many"
                )
        reference = item[image_keys[0]] if image_keys else None
        for key in present:
            if key in self.label_keys:
                item[key] = self._load_label(key, item[key], size, region, reference)
        if reference is not None:
            for key in present:
                _check_same_grid(reference, item[key])
        if region is not None and present:
            # No null: the item has to collate, and the same region may be asked for again.
            item["region_zyx"] = item[present[0]].meta["region_zyx"].tolist()
        return item

    def _load(self, key: Hashable, path: object, size: Sequence[float] | None, region: object) -> MetaTensor:
        if not isinstance(path, str | Path):
            raise InputError(f"{key!r} of a datalist item is {type(path).__name__}; it has to be the path of a volume")
        return read_volume(path, size, region)

    def _load_label(
        self,
        key: Hashable,
        path: object,
        size: Sequence[float] | None,
        region: object,
        image: MetaTensor | None,
    ) -> MetaTensor:
        if size is None and image is not None and isinstance(path, str | Path) and not read_header(path).size_known:
            size = voxel_size_zyx_nm(image)
        label = self._load(key, path, size, region)
        values = _class_values(label, self.num_classes)
        fits = values.size == 0 or values.max() <= np.iinfo(np.uint8).max
        return label.to(torch.uint8) if fits and label.dtype != torch.uint8 else label


class SaveVolumed(MapTransform):
    """Write each key's volume with the grid, voxel size and orientation of its own meta, whole or not at all.

    The file is `output_dir/NAME_POSTFIX.EXT`, NAME from the file or folder that the volume was read from; two
    inputs of one name are told apart by their parent folder's name. In the result `meta["saved_to"]` is the
    path.

    output_ext: None keeps the input's format; slice folders become .tif, .mhd .mha, .nhdr .nrrd.
    dtype: type on disk. Values that it cannot hold are an error, not a wrap-around.

    Raises InputError: folder not writable (already here, before any work), disk full, values that do not fit
    `dtype`, an output name that another input already has.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        output_postfix: str = "seg",
        output_ext: str | None = None,
        dtype: DtypeLike | torch.dtype = np.uint8,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if output_ext is not None and not suffix_of(f"name{output_ext}"):
            raise InputError(f"output_ext is {output_ext!r}: give a known file extension such as '.tif' or '.nii.gz'")
        self.output_dir = check_output_folder(output_dir)
        self.output_postfix = output_postfix
        self.output_ext = output_ext
        self.dtype = np.dtype(get_equivalent_dtype(dtype, np.ndarray))
        self._sources: dict[Path, tuple[str, str]] = {}

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        item = dict(data)
        for key in self.key_iterator(item):
            volume = item[key]
            source = str(volume.meta.get("filename_or_obj", "")) if isinstance(volume, MetaTensor) else ""
            if not source:
                raise InputError(f"{key!r} has no file name in its meta; save a MetaTensor that LoadVolumed made")
            typed = _as_type(volume, self.dtype, f"{key!r} of {source}")
            path = self._output_path(source, str(volume.meta.get("region_zyx")))
            write_volume(path, typed)
            logger.info("%s -> %s", source, path)
            volume.meta["saved_to"] = str(path)
        return item

    def _output_path(self, source: str, region: str) -> Path:
        """The first name of NAME, PARENT_NAME that no other input (or other region of it) has taken."""
        stem, suffix = _name_parts(source)
        suffix = self.output_ext or suffix
        identity = (str(Path(source).absolute()), region)
        parent = split_location(source).file.absolute().parent.name
        postfix = f"_{self.output_postfix}" if self.output_postfix else ""
        paths = [self.output_dir / f"{name}{postfix}{suffix}" for name in (stem, f"{parent}_{stem}")]
        if paths[0].absolute() == split_location(source).file.absolute():
            raise InputError(
                f"{paths[0]}: the output would replace the input; choose another output_dir or output_postfix"
            )
        for path in paths:
            if self._sources.setdefault(path, identity) == identity:
                return path
        raise InputError(
            f"{source}: its output {paths[1]} is already that of {self._sources[paths[1]][0]}; rename one input"
        )


def _name_parts(source: str) -> tuple[str, str]:
    """Return the output's name and extension for an input path."""
    location = split_location(source)
    suffix = suffix_of(location.file)
    if not suffix or (location.file.is_dir() and not suffix.endswith(".zarr")):
        # slice folders tend to have one name: stack1/raw, stack2/raw
        return f"{location.file.absolute().parent.name}_{location.file.absolute().name}", ".tif"
    stem = location.file.name[: -len(suffix)]
    if location.inner:
        stem = f"{stem}_{location.inner.replace('/', '_')}"
    return stem, {".mhd": ".mha", ".nhdr": ".nrrd"}.get(suffix, suffix)


def _check_image(image: MetaTensor) -> None:
    array, name = image.numpy(), image.meta["filename_or_obj"]
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            first = np.unravel_index(int(bad.argmax()), bad.shape)[1:]
            raise InputError(
                f"{name}: {int(bad.sum())} voxels are NaN or infinite, the first at (z, y, x) ="
                f" {tuple(int(k) for k in first)}; replace them in the file"
            )
    value = array.flat[0]
    if (array == value).all():
        raise InputError(f"{name}: all voxels are {value}, a constant image; check the file and region_zyx")


def _class_values(label: MetaTensor, num_classes: int | None) -> np.ndarray:
    """Return the distinct values; InputError unless they are classes."""
    array, name = label.numpy(), label.meta["filename_or_obj"]
    if array.dtype == np.uint8:
        # section by section: a count of the whole would make an int64 copy of it first
        sections = array.reshape(-1, array.shape[-2] * array.shape[-1])
        values = np.flatnonzero(sum(np.bincount(section, minlength=256) for section in sections))
    else:
        values = np.unique(array)
    bad = values[~np.isfinite(values)] if values.dtype.kind == "f" else values[:0]
    if not bad.size:
        above = values > num_classes - 1 if num_classes is not None else np.zeros(values.shape, dtype=bool)
        bad = values[(values < 0) | above | (values != np.floor(values))]
    if bad.size:
        shown = ", ".join(f"{value:g}" for value in bad[:_MAX_NAMED_VALUES])
        more = f" and {bad.size - _MAX_NAMED_VALUES} more" if bad.size > _MAX_NAMED_VALUES else ""
        allowed = f"0..{num_classes - 1}" if num_classes is not None else "whole numbers from 0"
        raise InputError(f"{name}: label values {shown}{more} are no classes; allowed are {allowed}: remap the labels")
    return values


def _check_same_grid(image: MetaTensor, other: MetaTensor) -> None:
    """InputError for another shape; for another voxel size a warning, and the image's place is taken."""
    names = [volume.meta["filename_or_obj"] for volume in (image, other)]
    shapes = [tuple(volume.shape[1:]) for volume in (image, other)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{names[0]} is {shapes[0]} (z, y, x), but {names[1]} is {shapes[1]}; they need one shape")
    directions = [volume.affine[:3, :3] / volume.affine[:3, :3].norm(dim=0) for volume in (image, other)]
    keep_directions = all(volume.meta["file_format"] in _WITH_DIRECTIONS for volume in (image, other))
    if keep_directions and not torch.allclose(*directions, atol=1e-3):
        raise InputError(
            f"{names[1]} is flipped or rotated against {names[0]}, by their headers; save both in one orientation"
        )
    sizes = [voxel_size_zyx_nm(volume) for volume in (image, other)]
    if any(abs(a - b) > _SIZE_TOLERANCE * a for a, b in zip(*sizes, strict=True)):
        warnings.warn(
            f"{names[1]}: voxel size {sizes[1]} nm (z, y, x) differs from that of {names[0]},"
            f" {sizes[0]}, which is used",
            stacklevel=3,
        )
        other.affine = image.affine.clone()


def _as_type(volume: MetaTensor, dtype: np.dtype, what: str) -> MetaTensor:
    """Cast without loss of whole numbers; InputError where an integer type cannot hold the values."""
    array = volume.detach().cpu()
    array = (array.float() if array.dtype is torch.bfloat16 else array).numpy()
    if array.dtype != dtype and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = array.min(), array.max()
        if not (low >= limits.min and high <= limits.max):
            raise InputError(f"{what}: values from {low:g} to {high:g} do not fit {dtype}; choose a larger dtype")
        if array.dtype.kind == "f" and (array != np.floor(array)).any():
            raise InputError(f"{what}: fractions cannot be saved as {dtype}; threshold them first, or save as float32")
    meta = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(torch.from_numpy(np.array(array, dtype=dtype)), affine=volume.affine, meta=meta)
