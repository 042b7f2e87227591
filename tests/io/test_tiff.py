import numpy as np
import pytest
import tifffile

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(np.uint8)
SIZE = (47.5, 4.6, 4.0)


def test_tifffile_sees_imagej_size(tmp_path):
    write_volume(tmp_path / "v.tif", DATA[None], SIZE)
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.is_imagej and tif.series[0].axes == "ZYX"
        assert tif.imagej_metadata["spacing"] == 47.5 and tif.imagej_metadata["unit"] == "nm"
        tags = tif.pages[0].tags
        assert tags["YResolution"].value == (5, 23) and tags["XResolution"].value == (1, 4)
        assert np.array_equal(tif.asarray(), DATA)


def test_tifffile_sees_ome_size_and_channels(tmp_path):
    channels = np.stack([DATA, DATA + 1, DATA + 2])
    write_volume(tmp_path / "v.ome.tif", channels, SIZE)
    with tifffile.TiffFile(tmp_path / "v.ome.tif") as tif:
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
        assert [pixels[f"PhysicalSize{a}"] for a in "ZYX"] == list(SIZE)
        assert {pixels[f"PhysicalSize{a}Unit"] for a in "ZYX"} == {"nm"}
        assert tif.series[0].axes == "CZYX" and np.array_equal(tif.asarray(), channels)


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif"])
def test_the_same_volume_is_the_same_file(tmp_path, name):
    """Checksums of files that crossem made can be compared."""
    files = [tmp_path / folder / name for folder in "abc"]
    for file, data in zip(files, (DATA, DATA, DATA + 1), strict=True):
        file.parent.mkdir()
        write_volume(file, data[None], SIZE)
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other
    uuids = [
        tifffile.TiffFile(file).ome_metadata.partition('UUID="urn:uuid:')[2][:36] for file in files if "ome" in name
    ]
    assert len(set(uuids)) in (0, 2)


def test_imagej_hyperstack_of_other_programs(tmp_path):
    stack = np.stack([DATA, DATA + 1], axis=1)  # z, c, y, x
    tifffile.imwrite(tmp_path / "v.tif", stack, imagej=True, resolution=(250, 200), metadata={
        "spacing": 0.05, "unit": "micron", "axes": "ZCYX"})  # fmt: skip
    volume = read_volume(tmp_path / "v.tif")
    assert np.array_equal(volume.numpy(), stack.transpose(1, 0, 2, 3))
    assert voxel_size_zyx_nm(volume) == (50, 5, 4)
    part = read_volume(tmp_path / "v.tif", region_zyx=[[1, 3], [2, 5], [0, 6]])
    assert np.array_equal(part.numpy(), stack.transpose(1, 0, 2, 3)[:, 1:3, 2:5])


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_ome_of_other_programs_page_by_page(tmp_path, compression, axes):
    stack = np.random.default_rng(1).integers(0, 9999, (2, 3, 40, 50)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "v.ome.tif", stack, photometric="minisblack", compression=compression, byteorder=">",
        metadata={"axes": axes, "PhysicalSizeX": 0.004, "PhysicalSizeY": 4.6, "PhysicalSizeYUnit": "nm",
                  "PhysicalSizeZ": 475, "PhysicalSizeZUnit": "Å"},
    )  # fmt: skip
    expected = stack if axes == "CZYX" else stack.transpose(1, 0, 2, 3)
    volume = read_volume(tmp_path / "v.ome.tif")
    assert voxel_size_zyx_nm(volume) == SIZE
    assert np.array_equal(volume.numpy(), expected)
    part = read_volume(tmp_path / "v.ome.tif", region_zyx=[[1, None], [2, 30], [5, 6]])
    assert np.array_equal(part.numpy(), expected[:, 1:, 2:30, 5:6])


def _plain(path, **options):
    tifffile.imwrite(path, DATA, photometric="minisblack", **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resolution": (250000, 250000), "resolutionunit": "CENTIMETER"},
        {"imagej": True},
        {"imagej": True, "resolution": (0.25, 0.25), "metadata": {"unit": "pixel", "spacing": 40}},
        {"imagej": True, "resolution": (0.25, 0.25), "metadata": {"unit": "nm"}},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm"}},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 4, "PhysicalSizeXUnit": "pixel"}},
    ],
)
def test_incomplete_sizes_count_as_none(tmp_path, options):
    _plain(tmp_path / "v.tif", **options)
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(tmp_path / "v.tif")
    assert np.array_equal(read_volume(tmp_path / "v.tif", SIZE).numpy()[0], DATA)


def test_single_page_and_grey_rgb(tmp_path):
    tifffile.imwrite(tmp_path / "one.tif", DATA[0])
    assert read_volume(tmp_path / "one.tif", SIZE).shape == (1, 1, 5, 6)
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([DATA] * 3, -1), photometric="rgb")
    assert np.array_equal(read_volume(tmp_path / "rgb.tif", SIZE).numpy()[0], DATA)
    tifffile.imwrite(tmp_path / "red.tif", np.stack([DATA, DATA, DATA + 1], -1), photometric="rgb")
    with pytest.raises(InputError, match="red.tif: a colour picture .* 8-bit grey"):
        read_volume(tmp_path / "red.tif", SIZE)


def test_a_page_chain_that_breaks_off_is_told(tmp_path):
    big = np.random.default_rng(0).integers(0, 250, (9, 30, 30)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for section in big:
            writer.write(section, metadata=None, photometric="minisblack", compression="zlib")
    content = (tmp_path / "v.tif").read_bytes()
    assert np.array_equal(read_volume(tmp_path / "v.tif", SIZE).numpy()[0], big)
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "v.tif").write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="v.tif: .*truncated"):
            read_volume(tmp_path / "v.tif", SIZE)


def test_sections_of_two_sizes_and_time_series_are_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(DATA[0], metadata=None)
        writer.write(DATA[0, :3], metadata=None)
    with pytest.raises(InputError, match="one size and type"):
        read_volume(tmp_path / "two.tif", SIZE)
    tifffile.imwrite(tmp_path / "time.tif", np.stack([DATA, DATA]), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match="axes TZYX"):
        read_volume(tmp_path / "time.tif", SIZE)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64", "uint32", "int8"])
def test_types_that_imagej_has_not(tmp_path, dtype):
    write_volume(tmp_path / "v.tif", DATA[None].astype(dtype), SIZE)
    volume = read_volume(tmp_path / "v.tif")
    assert voxel_size_zyx_nm(volume) == SIZE and np.array_equal(volume.numpy()[0], DATA.astype(dtype))


@pytest.mark.parametrize("size", [0.123456, 4.6, 99.999, 12345.678, 3e6])
def test_resolution_tags_hold_any_size(tmp_path, size):
    write_volume(tmp_path / "v.tif", DATA[None], (size, size, size))
    assert voxel_size_zyx_nm(read_volume(tmp_path / "v.tif")) == pytest.approx((size,) * 3, rel=1e-6)
