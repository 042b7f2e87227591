"""Reading and writing volumes: one file a format, one read and one write function in front."""

from crossem.io.atomic import atomic_output, check_output_folder
from crossem.io.find import find_volumes
from crossem.io.formats import split_location, suffix_of
from crossem.io.geometry import check_voxel_size, make_affine, voxel_size_zyx_nm
from crossem.io.header import VolumeHeader
from crossem.io.read import read_header, read_volume, read_voxel_size_zyx_nm
from crossem.io.region import resolve_region
from crossem.io.write import write_volume

__all__ = [
    "VolumeHeader",
    "atomic_output",
    "check_output_folder",
    "check_voxel_size",
    "find_volumes",
    "make_affine",
    "read_header",
    "read_volume",
    "read_voxel_size_zyx_nm",
    "resolve_region",
    "split_location",
    "suffix_of",
    "voxel_size_zyx_nm",
    "write_volume",
]
