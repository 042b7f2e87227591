"""The schema of `datasets.json`: what each dataset is, where its files are, and which pairs make a task."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from crossem.data._validation import close_match, read_json, validated
from crossem.errors import InputError

Slice = tuple[int | None, int | None]
RegionZyx = tuple[Slice, Slice, Slice]
VoxelSizeZyxNm = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Domain = Literal["source", "target"]
SplitName = Literal["training", "validation", "test", "unlabelled"]
Converter = Literal["foreground", "values", "supervoxel_boundaries", "supervoxel_bodies"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetFile(NamedTuple):
    """One published file: `path` in the dataset's folder, its mirrors, size and SHA-256 if known."""

    path: str
    role: str
    urls: tuple[str, ...]
    bytes: int | None
    sha256: str | None


class FileGroup(_Strict):
    """Files of one role in one folder: `files` maps a name to [bytes, sha256], null when unpublished."""

    role: str
    folder: str = ""
    files: dict[str, tuple[PositiveInt, Sha256] | None]


class Part(_Strict):
    """A file, or a folder of slices, that holds a volume or a box of it.

    `origin_zyx` and `shape_zyx` place it in the volume, in voxels; shape null is the whole volume.
    `annotations` maps the name of an annotation to its path.
    """

    name: str
    image: str
    annotations: dict[str, str] = {}
    origin_zyx: tuple[int, int, int] = (0, 0, 0)
    shape_zyx: tuple[int, int, int] | None = None


class Volume(_Strict):
    """A volume and the layouts it may have on disk; the first complete one is taken."""

    shape_zyx: tuple[PositiveInt, PositiveInt, PositiveInt]
    optional: bool = False
    layouts: list[list[Part]] = Field(min_length=1)


class LabelSpec(_Strict):
    """How an annotation becomes class indices; `convert` null when this library converts none.

    `boundary_pixels`: of boundaries made from bodies, how many are marked on each side.
    """

    classes: list[str]
    annotation: str | None = None
    convert: Converter | None = None
    values: dict[int, int] = {}
    boundary_pixels: PositiveInt = 1
    expected_foreground: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _boundaries_are_made(self) -> "LabelSpec":
        if "boundary_pixels" in self.model_fields_set and self.convert != "supervoxel_boundaries":
            given = "missing" if self.convert is None else f"'{self.convert}'"
            raise ValueError(f"boundary_pixels is for convert 'supervoxel_boundaries'; here that is {given}")
        return self


class SplitPart(_Strict):
    """A region of a volume, as Python slices in voxels; null is the whole volume."""

    volume: str
    region_zyx: RegionZyx | None = None


class Dataset(_Strict):
    """One dataset; `volumes`, `splits` and files are empty for one that has to be got by hand."""

    title: str
    modality: str
    organism: str
    voxel_size_zyx_nm: VoxelSizeZyxNm | None
    used_in: list[str]
    licence: str
    citation: str
    doi: str | None = None
    homepage: str | None = None
    how_to_get: str
    base_urls: list[str] = []
    remote_folder: str = ""
    file_groups: list[FileGroup] = []
    volumes: dict[str, Volume] = {}
    labels: dict[str, LabelSpec]
    splits: dict[Domain, dict[SplitName, list[SplitPart]]] = {}

    @property
    def downloadable(self) -> bool:
        """True when `tools/fetch_datasets.py get` can fetch it."""
        return bool(self.file_groups)

    @property
    def files(self) -> list[DatasetFile]:
        """Every published file, in the order of the registry."""
        return [self._file(group, name, known) for group in self.file_groups for name, known in group.files.items()]

    @property
    def known_bytes(self) -> int | None:
        """Sum of the published sizes, None when a size is not published."""
        sizes = [file.bytes for file in self.files]
        return sum(sizes) if sizes and None not in sizes else None

    def _file(self, group: FileGroup, name: str, known: tuple[int, str] | None) -> DatasetFile:
        path = f"{group.folder}/{name}" if group.folder else name
        size, sha256 = known or (None, None)
        urls = tuple(base + self.remote_folder + path for base in self.base_urls)
        return DatasetFile(path, group.role, urls, size, sha256)

    @model_validator(mode="after")
    def _names_exist(self) -> "Dataset":
        if self.file_groups and not (self.base_urls and self.volumes):
            raise ValueError("a dataset with files needs base_urls and volumes")
        for parts in (part for splits in self.splits.values() for part in splits.values()):
            unknown = [part.volume for part in parts if part.volume not in self.volumes]
            if unknown:
                raise ValueError(f"a split names volume {unknown[0]!r}; known: {', '.join(self.volumes)}")
        return self


class DomainSpec(_Strict):
    """A dataset in the role of source or target, and the one of its labels that the task segments."""

    dataset: str
    label: str


class Pair(_Strict):
    """A domain shift: what is learnt on `source` and has to work on `target`."""

    title: str
    classes: list[str] = Field(min_length=2)
    source: DomainSpec
    target: DomainSpec


class Registry(_Strict):
    """Everything that `datasets.json` says."""

    datasets: dict[str, Dataset]
    pairs: dict[str, Pair]

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name. Raises InputError, with the nearest name, when there is none."""
        if name not in self.datasets:
            hint = close_match(name, list(self.datasets)) or f"; known: {', '.join(self.datasets)}"
            raise InputError(f"unknown dataset {name!r}{hint}")
        return self.datasets[name]

    @model_validator(mode="after")
    def _pairs_agree(self) -> "Registry":
        for name, pair in self.pairs.items():
            for domain in (pair.source, pair.target):
                dataset = self.datasets.get(domain.dataset)
                if dataset is None or domain.label not in dataset.labels:
                    raise ValueError(f"pair {name!r} names {domain.dataset}/{domain.label}, which is not there")
                if dataset.labels[domain.label].classes != pair.classes:
                    raise ValueError(f"pair {name!r} and label {domain.dataset}/{domain.label} differ in classes")
        return self


def load_registry(path: str | Path) -> Registry:
    """The checked content of `datasets.json`. Raises InputError with one line when it is missing or wrong."""
    path = Path(path)
    return validated(Registry, read_json(path, "dataset registry"), f"dataset registry {path}")
