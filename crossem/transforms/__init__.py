"""Dictionary transforms for electron microscopy volumes (C, Z, Y, X)."""

from crossem.transforms.augment import em_augmentation
from crossem.transforms.augment_appearance import RandDarkRegionsd, RandLocalContrastd, RandObjectIntensityd
from crossem.transforms.augment_intensity import (
    RandDarkBlobsd,
    RandEMBlurd,
    RandEMNoised,
    RandSliceIntensityd,
)
from crossem.transforms.augment_sections import RandDropSlicesd, RandShiftSlicesd
from crossem.transforms.augment_spatial import RandElasticd, RandFlipRotate90d
from crossem.transforms.best_class import BestClassd, best_class
from crossem.transforms.boundary_weights import boundary_weights
from crossem.transforms.histogram import MatchHistogramd
from crossem.transforms.label_fraction import LabelFractiond
from crossem.transforms.labels import (
    BoundariesFromInstancesd,
    MapLabelsd,
    boundaries_from_instances,
    map_labels,
)
from crossem.transforms.load_save import LoadVolumed, SaveVolumed
from crossem.transforms.normalize import NormalizeSlicesd, normalize_slices
from crossem.transforms.pipelines import inference_postprocessing, inference_preprocessing, training_preprocessing
from crossem.transforms.ragged_objects import DropRaggedObjectsd
from crossem.transforms.ratio_weight import RatioWeightMapd
from crossem.transforms.resample import (
    ResampleVoxelSized,
    resample_intensity,
    resample_labels,
    working_shape_zyx,
)
from crossem.transforms.small_objects import DropSmallObjectsd
from crossem.transforms.translate import TranslateSlicesd, translate_slices
from crossem.transforms.weights import (
    DistanceWeightMapd,
    EntropyWeightMapd,
    distance_weight_map,
    entropy_weight_map,
)

__all__ = [
    "BestClassd",
    "BoundariesFromInstancesd",
    "DistanceWeightMapd",
    "DropRaggedObjectsd",
    "DropSmallObjectsd",
    "EntropyWeightMapd",
    "LabelFractiond",
    "LoadVolumed",
    "MapLabelsd",
    "MatchHistogramd",
    "NormalizeSlicesd",
    "RandDarkBlobsd",
    "RandDarkRegionsd",
    "RandDropSlicesd",
    "RandEMBlurd",
    "RandEMNoised",
    "RandElasticd",
    "RandFlipRotate90d",
    "RandLocalContrastd",
    "RandObjectIntensityd",
    "RandShiftSlicesd",
    "RandSliceIntensityd",
    "RatioWeightMapd",
    "ResampleVoxelSized",
    "SaveVolumed",
    "TranslateSlicesd",
    "best_class",
    "boundaries_from_instances",
    "boundary_weights",
    "distance_weight_map",
    "em_augmentation",
    "entropy_weight_map",
    "inference_postprocessing",
    "inference_preprocessing",
    "map_labels",
    "normalize_slices",
    "resample_intensity",
    "resample_labels",
    "training_preprocessing",
    "translate_slices",
    "working_shape_zyx",
]
