import numpy as np
import pytest
import tifffile
from PIL import Image

from crossem.errors import InputError
from crossem.io import read_volume, voxel_size_zyx_nm, write_volume

DATA = np.random.default_rng(0).integers(0, 250, (12, 5, 6)).astype(np.uint8)
SIZE = (50, 4, 4)


def _png(folder, names, data=DATA):
    folder.mkdir(exist_ok=True)
    for name, section in zip(names, data, strict=False):
        Image.fromarray(section).save(folder / name)
    return folder


@pytest.mark.parametrize("pattern", ["{}.png", "s{:03d}.png", "iso.26{:02d}.png", "a1_z{}_c0.png"])
def test_natural_order(tmp_path, pattern):
    folder = _png(tmp_path / "raw", [pattern.format(k) for k in range(12)])
    (folder / "Thumbs.db").write_text("x")
    (folder / ".hidden.png").write_text("x")
    volume = read_volume(folder, SIZE)
    assert np.array_equal(volume.numpy()[0], DATA) and voxel_size_zyx_nm(volume) == SIZE
    part = read_volume(folder, SIZE, region_zyx=[[9, 12], [1, 4], [None, 3]])
    assert np.array_equal(part.numpy()[0], DATA[9:12, 1:4, :3])


def test_tiff_slices_and_16_bit(tmp_path):
    (tmp_path / "raw").mkdir()
    for k, section in enumerate(DATA):
        tifffile.imwrite(tmp_path / "raw" / f"{k}.tif", section.astype(">u2"))
    volume = read_volume(tmp_path / "raw", SIZE)
    assert volume.numpy().dtype == np.uint16 and np.array_equal(volume.numpy()[0], DATA)
    volume = read_volume(_png(tmp_path / "png16", [f"{k}.png" for k in range(12)], DATA.astype(np.uint16)), SIZE)
    assert volume.numpy().dtype == np.uint16 and np.array_equal(volume.numpy()[0], DATA)
    volume = read_volume(_png(tmp_path / "png1", [f"{k}.png" for k in range(12)], DATA > 99), SIZE)
    assert volume.numpy().dtype == np.uint8 and np.array_equal(volume.numpy()[0], DATA > 99)


def test_slices_have_no_voxel_size(tmp_path):
    with pytest.raises(InputError, match="raw: the file has no voxel size"):
        read_volume(_png(tmp_path / "raw", ["0.png", "1.png"]))


def test_missing_numbers(tmp_path):
    folder = _png(tmp_path / "raw", [f"s_{k:02d}.png" for k in range(12)])
    (folder / "s_07.png").unlink()
    with pytest.raises(InputError, match="slice number 7 missing between s_00.png and s_11.png"):
        read_volume(folder, SIZE)
    (folder / "s_04.png").unlink()
    with pytest.raises(InputError, match="slice number 4 and 1 more missing"):
        read_volume(folder, SIZE)


def test_every_tenth_slice_and_names_without_numbers(tmp_path):
    assert read_volume(_png(tmp_path / "a", [f"z{k}.png" for k in range(0, 120, 10)]), SIZE).shape[1] == 12
    assert read_volume(_png(tmp_path / "b", ["first.png", "second.png"]), SIZE).shape[1] == 2


def test_double_numbers(tmp_path):
    with pytest.raises(InputError, match="same number"):
        read_volume(_png(tmp_path / "raw", ["0.png", "1.png", "01.png", "2.png"]), SIZE)


def test_mixed_sizes_and_kinds(tmp_path):
    folder = _png(tmp_path / "raw", [f"{k}.png" for k in range(6)])
    Image.fromarray(DATA[0, :3]).save(folder / "4.png")
    with pytest.raises(InputError, match=r"4.png: \(3, 6\).*0.png is \(5, 6\)"):
        read_volume(folder, SIZE)
    tifffile.imwrite(folder / "6.tif", DATA[0])
    with pytest.raises(InputError, match="two types, 0.png and 6.tif"):
        read_volume(folder, SIZE)


def test_colour_slices(tmp_path):
    grey = np.stack([DATA] * 3, -1)
    assert np.array_equal(read_volume(_png(tmp_path / "g", ["0.png", "1.png"], grey), SIZE).numpy()[0], DATA[:2])
    red = grey.copy()
    red[1, 0, 0, 0] += 1
    with pytest.raises(InputError, match="1.png: a colour picture .* 8-bit grey"):
        read_volume(_png(tmp_path / "r", ["0.png", "1.png"], red), SIZE)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.9])
def test_truncated_slice_is_named(tmp_path, suffix, keep):
    (tmp_path / "raw").mkdir()
    big = np.random.default_rng(0).integers(0, 255, (3, 90, 90)).astype(np.uint8)
    for k, section in enumerate(big):
        Image.fromarray(section).save(tmp_path / "raw" / f"{k}.{suffix}")
    bad = tmp_path / "raw" / f"1.{suffix}"
    bad.write_bytes(bad.read_bytes()[: int(keep * bad.stat().st_size)])
    with pytest.raises(InputError, match=f"1.{suffix}.*truncated") as error:
        read_volume(tmp_path / "raw", SIZE)
    assert "\n" not in str(error.value)


def test_empty_folder_stack_among_slices_and_writing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without .png"):
        read_volume(tmp_path / "empty", SIZE)
    (tmp_path / "raw").mkdir()
    tifffile.imwrite(tmp_path / "raw" / "0.tif", DATA)
    with pytest.raises(InputError, match="a stack of shape .* among slices"):
        read_volume(tmp_path / "raw", SIZE)
    with pytest.raises(InputError, match="is a folder; give a file name"):
        write_volume(tmp_path / "raw", DATA[None], SIZE)
