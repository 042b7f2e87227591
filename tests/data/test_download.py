"""One file over HTTP, against a real server that knows Range."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crossem.data.download import download_file
from crossem.data.registry import DatasetFile
from crossem.errors import InputError

CONTENT = bytes(range(256)) * 5000
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good: with Range; /plain: without; /wrong: other bytes; /cut: stops half way."""

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.requests.append((self.path, requested))
        if self.path not in ("/good", "/plain", "/wrong", "/cut"):
            return self.send_error(404)
        content = CONTENT[::-1] if self.path == "/wrong" else CONTENT
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and self.path != "/plain" else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2 if self.path == "/cut" else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _file(server, *paths, size=SIZE, sha256=SHA256):
    urls = tuple(f"http://127.0.0.1:{server.server_address[1]}{path}" for path in paths)
    return DatasetFile("file.tif", "image", urls, size, sha256)


def test_download(server, tmp_path):
    counts = []
    download_file(_file(server, "/good"), tmp_path / "new" / "file.tif", progress=counts.append)
    assert (tmp_path / "new" / "file.tif").read_bytes() == CONTENT
    assert sum(counts) == len(CONTENT) and [p.name for p in (tmp_path / "new").iterdir()] == ["file.tif"]


@pytest.mark.parametrize("path", ["/good", "/plain"])
def test_resume_asks_for_the_rest_only(server, tmp_path, path):
    (tmp_path / "file.tif.part").write_bytes(CONTENT[:1000])
    counts = []
    download_file(_file(server, path), tmp_path / "file.tif", progress=counts.append)
    assert (tmp_path / "file.tif").read_bytes() == CONTENT
    assert server.requests == [(path, "bytes=1000-")] and sum(counts) == len(CONTENT)


def test_resume_after_a_cut_connection(server, tmp_path):
    destination = tmp_path / "file.tif"
    with pytest.raises(InputError, match="bytes are kept in .*file.tif.part") as caught:
        download_file(_file(server, "/cut"), destination)
    assert not destination.exists() and "\n" not in str(caught.value)
    kept = (tmp_path / "file.tif.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    download_file(_file(server, "/good"), destination)
    assert destination.read_bytes() == CONTENT and server.requests[-1] == ("/good", f"bytes={kept}-")


def test_wrong_beginning_is_fetched_again(server, tmp_path):
    (tmp_path / "file.tif.part").write_bytes(b"x" * 1000)
    counts = []
    download_file(_file(server, "/good"), tmp_path / "file.tif", progress=counts.append)
    assert (tmp_path / "file.tif").read_bytes() == CONTENT and sum(counts) == len(CONTENT)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_complete_part_needs_no_bytes(server, tmp_path, size):
    (tmp_path / "file.tif.part").write_bytes(CONTENT)
    download_file(_file(server, "/good", size=size, sha256=None), tmp_path / "file.tif")
    assert (tmp_path / "file.tif").read_bytes() == CONTENT


def test_part_longer_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "file.tif.part").write_bytes(CONTENT + b"more")
    download_file(_file(server, "/good", size=None, sha256=None), tmp_path / "file.tif")
    assert (tmp_path / "file.tif").read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match=f"published is {SHA256}; removed") as caught:
        download_file(_file(server, "/wrong"), tmp_path / "file.tif")
    assert list(tmp_path.iterdir()) == [] and "\n" not in str(caught.value)


def test_wrong_size_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match="1280000 bytes came, 7 are published; removed"):
        download_file(_file(server, "/good", size=7), tmp_path / "file.tif")
    assert list(tmp_path.iterdir()) == []


def test_mirrors_in_order(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/good"
    file = _file(server, "/absent", "/wrong", "/good")
    download_file(file._replace(urls=(dead, *file.urls)), tmp_path / "file.tif")
    assert (tmp_path / "file.tif").read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/absent", "/wrong", "/good"]


def test_every_mirror_is_named_when_none_works(server, tmp_path):
    with pytest.raises(InputError, match=r"/absent: HTTP status 404; http.*/gone: HTTP status 404"):
        download_file(_file(server, "/absent", "/gone"), tmp_path / "file.tif")
