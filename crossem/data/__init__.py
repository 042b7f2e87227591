"""Datasets, datalists and the pairing of source and target domains."""

from crossem.data.convert import convert_dataset
from crossem.data.datalist import datalist_items, expand_z_phases, load_datalist, target_items, validation_domain
from crossem.data.fetch import FileCheck, copy_dataset, download_dataset, verify_dataset
from crossem.data.pairs import pair_datalist, write_pair_datalists
from crossem.data.patches import EpochSampler, PairedDataset, PatchDataset, training_loader
from crossem.data.phantom import make_phantom
from crossem.data.registry import Dataset, Pair, Registry, load_registry

__all__ = [
    "Dataset",
    "EpochSampler",
    "FileCheck",
    "Pair",
    "PairedDataset",
    "PatchDataset",
    "Registry",
    "convert_dataset",
    "copy_dataset",
    "datalist_items",
    "download_dataset",
    "expand_z_phases",
    "load_datalist",
    "load_registry",
    "make_phantom",
    "pair_datalist",
    "target_items",
    "training_loader",
    "validation_domain",
    "verify_dataset",
    "write_pair_datalists",
]
