"""Files that are fetched once: complete, checked and cached, or not there at all."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spotscape._core.logging import logger, warn
from spotscape._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA_FOLDER_VARIABLE: Final = "SPOTSCAPE_DATA"
_ATTEMPTS = 3
_PAUSE_SECONDS = 2.0
_CLIENT_ERRORS = range(400, 500)


def local_file(name: str) -> Path | None:
    """The file ``name`` in the folder named by the environment variable ``SPOTSCAPE_DATA``, if it is there."""
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    path = Path(folder).expanduser() / name if folder else None
    if path is None or not path.is_file():
        return None
    logger.info("Reading %s (%s).", path, DATA_FOLDER_VARIABLE)
    return path


def fetch(
    url: str, name: str, *, sha256: str | None = None, try_reading: Callable[[Path], object] | None = None
) -> Path:
    """Download ``url`` to ``name`` in ``settings.datasetdir`` unless it is there already.

    A file reaches its name only when it is complete and right. Where ``sha256`` is not known beforehand, it is
    recorded in ``<name>.sha256`` at the first download, after ``try_reading`` succeeded, and holds from then on.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, does not have the file, or breaks off.
    ValueError
        If what arrives is not the expected file.
    OSError
        If the cache cannot be written.
    """
    path = settings.datasetdir / name
    expected = sha256 or _recorded_sha256(path)
    if path.is_file():
        found = _sha256(path)
        if found == expected or (expected is None and _is_readable(path, try_reading)):
            _record_sha256(path, found, known=sha256)
            return path
        warn(f"{path} cannot be read or has another checksum than the original; downloading it again.")
        path.unlink()
    logger.info("Downloading %s to %s.", url, path)
    _retry(url, path, expected, try_reading)
    _record_sha256(path, _sha256(path), known=sha256)
    return path


def _retry(url: str, path: Path, sha256: str | None, try_reading: Callable[[Path], object] | None) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _download(url, path, sha256, try_reading)
        except (ConnectionError, ValueError) as error:
            if attempt == _ATTEMPTS or isinstance(error, FileMissingError):
                raise
            logger.warning("Attempt %d of %d: %s Trying again.", attempt, _ATTEMPTS, error)
            time.sleep(_PAUSE_SECONDS)
        else:
            return


class FileMissingError(ConnectionError):
    """The server answered, and does not give the file: asking again would not help."""


def _download(url: str, path: Path, sha256: str | None, try_reading: Callable[[Path], object] | None) -> None:
    """One attempt; pooch writes to a temporary file, which takes the name ``path`` only if all went well."""
    import pooch
    import requests

    fetcher = pooch.HTTPDownloader(progressbar=settings.progress_bar)

    def fetch_and_read(address: str, target: str, registry: object) -> None:
        fetcher(address, target, registry)
        if try_reading is not None:
            try_reading(Path(target))

    known_hash = None if sha256 is None else f"sha256:{sha256}"
    remedy = (
        f"Nothing was kept. Call again, or download it yourself to {path}, or set {DATA_FOLDER_VARIABLE} to a folder "
        "that holds the prepared files."
    )
    try:
        with _pooch_quiet():
            pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=fetch_and_read)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "unknown"
        msg = f"{url} was refused by its server (status {status}). {remedy}"
        raise (FileMissingError if status in _CLIENT_ERRORS else ConnectionError)(msg) from error
    except requests.RequestException as error:
        msg = f"{url} could not be downloaded completely ({error}). {remedy}"
        raise ConnectionError(msg) from error
    except ValueError as error:
        msg = f"{url} gave something else than the expected file ({error}). {remedy}"
        raise ValueError(msg) from error
    except OSError as error:
        msg = (
            f"{path} could not be written ({error}). Set spotscape.settings.datasetdir to a folder that you may write."
        )
        raise OSError(msg) from error


def _is_readable(path: Path, try_reading: Callable[[Path], object] | None) -> bool:
    try:
        if try_reading is not None:
            try_reading(path)
    except ValueError:
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded_sha256(path: Path) -> str | None:
    record = _record_of(path)
    return record.read_text().strip() if record.is_file() else None


def _record_sha256(path: Path, found: str, *, known: str | None) -> None:
    if known is None and not _record_of(path).is_file():
        _record_of(path).write_text(f"{found}\n")


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


@contextmanager
def _pooch_quiet() -> Iterator[None]:
    import pooch

    log = pooch.get_logger()
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
