"""A small dataset brought into a data folder both ways, and verified."""

import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tifffile

from crossem.data.fetch import copy_dataset, download_dataset, verify_dataset
from crossem.data.registry import Dataset
from crossem.errors import InputError


def _dataset(folder, base_urls=("http://127.0.0.1:9/",), checksums=True):
    names = [f"{n:02d}.tif" for n in range(3)]
    files = {
        name: [
            (folder / "stack/raw" / name).stat().st_size,
            hashlib.sha256((folder / "stack/raw" / name).read_bytes()).hexdigest(),
        ]
        if checksums
        else None
        for name in names
    }
    half = {"image": "left/raw", "shape_zyx": [3, 4, 3]}
    return Dataset.model_validate(
        {
            "title": "t",
            "modality": "m",
            "organism": "o",
            "voxel_size_zyx_nm": [50, 5, 5],
            "used_in": [],
            "licence": "l",
            "citation": "c",
            "how_to_get": "Ask the owner.",
            "base_urls": list(base_urls),
            "remote_folder": "sub/",
            "file_groups": [{"role": "image", "folder": "stack/raw", "files": files}],
            "volumes": {
                "stack": {
                    "shape_zyx": [3, 4, 6],
                    "layouts": [
                        [{"name": "stack", "image": "stack/raw"}],
                        [
                            {"name": "left", **half},
                            {"name": "right", **half, "image": "right/raw", "origin_zyx": [0, 0, 3]},
                        ],
                    ],
                }
            },
            "labels": {},
        }
    )


@pytest.fixture
def published(tmp_path):
    """The dataset as its owner has it, in tmp_path/published/sub."""
    stack = np.random.default_rng(0).integers(0, 255, (3, 4, 6), dtype=np.uint8)
    folder = tmp_path / "published" / "sub"
    (folder / "stack/raw").mkdir(parents=True)
    for z, plane in enumerate(stack):
        tifffile.imwrite(folder / f"stack/raw/{z:02d}.tif", plane)
    return folder


@pytest.fixture
def server(published):
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(published.parent))
    handler.func.log_message = lambda *args: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def _statuses(dataset, folder):
    return [check.status for check in verify_dataset(dataset, folder)]


@pytest.mark.parametrize("checksums", [True, False])
def test_download_and_download_again(published, server, tmp_path, checksums):
    dataset = _dataset(published, [server], checksums)
    folder = tmp_path / "data" / "d"
    counts = []
    download_dataset(dataset, folder, counts.append)
    assert sum(counts) == sum(path.stat().st_size for path in (published / "stack/raw").iterdir())
    before = (folder / "stack/raw/00.tif").stat().st_mtime_ns
    download_dataset(dataset, folder)
    assert (folder / "stack/raw/00.tif").stat().st_mtime_ns == before
    assert _statuses(dataset, folder) == ["published" if checksums else "as fetched"] * 3


def test_changed_file_is_told_and_fetched_again(published, server, tmp_path):
    dataset = _dataset(published, [server])
    folder = tmp_path / "d"
    download_dataset(dataset, folder)
    (folder / "stack/raw/01.tif").write_bytes(b"broken")
    assert _statuses(dataset, folder) == ["published", "changed", "published"]
    download_dataset(dataset, folder)
    assert _statuses(dataset, folder) == ["published"] * 3
    (folder / "stack/raw/02.tif").unlink()
    assert _statuses(dataset, folder) == ["published", "published", "missing"]


def test_no_network_tells_the_way_by_hand(published, tmp_path):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/sub/stack/raw/00.tif.*By hand: Ask the owner."):
        download_dataset(_dataset(published), tmp_path / "d")


@pytest.mark.parametrize("place", ["d", "d/sub", ".", "sub"])
def test_copy_finds_the_folder(published, tmp_path, place):
    source = tmp_path / "source"
    (source / place).parent.mkdir(parents=True, exist_ok=True)
    source.mkdir(exist_ok=True)
    for path in published.rglob("*.tif"):
        target = source / place / path.relative_to(published)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    dataset = _dataset(published)
    copy_dataset("d", dataset, source, tmp_path / "data" / "d")
    assert _statuses(dataset, tmp_path / "data" / "d") == ["published"] * 3


def test_copy_takes_other_layouts_and_says_so(published, tmp_path):
    source = tmp_path / "source" / "d"
    for part in ("left", "right"):
        (source / part / "raw").mkdir(parents=True)
        for z in range(3):
            tifffile.imwrite(source / part / f"raw/{z}.tif", np.full((4, 3), z, np.uint8))
    dataset, folder = _dataset(published), tmp_path / "data" / "d"
    copy_dataset("d", dataset, source.parent, folder)
    checks = verify_dataset(dataset, folder)
    assert [check.status for check in checks] == ["as fetched"] * 6
    assert all("local layout" in check.note for check in checks)
    before = (folder / "left/raw/0.tif").stat().st_mtime_ns
    (source / "left/raw/1.tif").write_bytes(b"other")
    copy_dataset("d", dataset, source.parent, folder)
    assert (folder / "left/raw/0.tif").stat().st_mtime_ns == before
    assert (folder / "left/raw/1.tif").read_bytes() == b"other"


def test_copy_takes_a_reencoded_file_and_verify_tells(published, tmp_path):
    dataset = _dataset(published)
    tifffile.imwrite(published / "stack/raw/01.tif", np.zeros((4, 6), np.uint8), compression="zlib")
    copy_dataset("d", dataset, published, tmp_path / "d")
    check = verify_dataset(dataset, tmp_path / "d")[1]
    assert check.status == "as fetched" and "differs from the published" in check.note


def test_copy_onto_itself(published, tmp_path):
    copy_dataset("sub", _dataset(published), published.parent, published)
    assert _statuses(_dataset(published), published) == ["published"] * 3


def test_copy_names_a_missing_slice(published, tmp_path):
    dataset = _dataset(published)
    (published / "stack/raw/01.tif").unlink()
    with pytest.raises(InputError, match=r"1 files are missing in .*: stack/raw/01.tif; add them"):
        copy_dataset("d", dataset, published, tmp_path / "d")


def test_copy_from_a_folder_without_the_dataset(published, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="stack/raw not found in .*empty; Ask the owner."):
        copy_dataset("d", _dataset(published), tmp_path / "empty", tmp_path / "d")
    with pytest.raises(InputError, match="does not exist"):
        copy_dataset("d", _dataset(published), tmp_path / "absent", tmp_path / "d")


def test_verify_nothing(published, tmp_path):
    assert _statuses(_dataset(published), tmp_path / "d") == ["missing"] * 3
