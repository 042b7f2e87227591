"""Get one file over HTTP: resumed where it stopped, mirrors in order, checked before it has its name."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import requests

from crossem.data.registry import DatasetFile
from crossem.errors import InputError

Progress = Callable[[int], None]
CHUNK_BYTES = 1 << 16  # what a broken connection loses at most
TIMEOUT_S = (10, 60)

logger = logging.getLogger(__name__)


class _Mismatch(Exception):
    """What came is not what was published."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download_file(
    file: DatasetFile,
    destination: Path,
    session: requests.Session | None = None,
    progress: Progress | None = None,
) -> None:
    """Download `file` to `destination`, whose folder is made when missing.

    Bytes go to `destination` + ".part", which stays after an interruption and is continued with an HTTP Range
    request the next time. The name is given only when size and SHA-256, where published, are right; what
    fails that check is removed. `progress` is called with numbers of bytes (negative when a start is thrown
    away). Raises InputError, in one line with every address tried, when no mirror gives the file.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    session = session or requests.Session()
    progress = progress or (lambda count: None)
    reasons = []
    if part.exists():
        progress(part.stat().st_size)
    for url in file.urls:
        try:
            _fetch_checked(file, url, part, session, progress)
        except (requests.RequestException, _Mismatch) as err:
            reasons.append(f"{url}: {_reason(err)}")
            logger.info("mirror failed: %s", reasons[-1])
            continue
        os.replace(part, destination)
        return
    bytes_kept = part.stat().st_size if part.exists() else 0
    kept = f"; {bytes_kept} bytes are kept in {part} and the next try continues there" if bytes_kept else ""
    raise InputError(f"{destination.name} cannot be downloaded ({'; '.join(reasons)}){kept}")


def _fetch_checked(file: DatasetFile, url: str, part: Path, session: requests.Session, progress: Progress) -> None:
    resumed = part.exists() and part.stat().st_size > 0
    _transfer(file, url, part, session, progress)
    try:
        _check(file, part)
    except _Mismatch:
        progress(-part.stat().st_size)
        part.unlink()
        if not resumed:
            raise
        # The old beginning may be what was wrong, so a resumed file gets one try from its first byte.
        _fetch_checked(file, url, part, session, progress)


def _transfer(file: DatasetFile, url: str, part: Path, session: requests.Session, progress: Progress) -> None:
    start = part.stat().st_size if part.exists() else 0
    if file.bytes is not None and start >= file.bytes:
        return
    # identity: a length and a position that count the file's own bytes, not those of a compressed transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            if _total_bytes(response) == start:
                return
            progress(-start)
            part.unlink()
            return _transfer(file, url, part, session, progress)
        response.raise_for_status()
        if start and response.status_code != requests.codes.partial_content:
            progress(-start)
            start = 0
        with part.open("ab" if start else "wb") as stream:
            for chunk in response.iter_content(CHUNK_BYTES):
                stream.write(chunk)
                progress(len(chunk))
        expected = _total_bytes(response)
    if expected is not None and part.stat().st_size < expected:
        raise requests.ConnectionError(f"stopped at {part.stat().st_size} of {expected} bytes")


def _total_bytes(response: requests.Response) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _check(file: DatasetFile, part: Path) -> None:
    size = part.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise _Mismatch(f"{size} bytes came, {file.bytes} are published; removed")
    if file.sha256 is not None and (found := sha256_of(part)) != file.sha256:
        raise _Mismatch(f"SHA-256 is {found}, published is {file.sha256}; removed")


def _reason(err: Exception) -> str:
    if isinstance(err, requests.HTTPError):
        return f"HTTP status {err.response.status_code}"
    if isinstance(err, requests.Timeout):
        return "no answer in time"
    if isinstance(err, requests.ConnectionError) and not str(err).startswith("stopped"):
        return "connection failed"
    return " ".join(str(err).split())
