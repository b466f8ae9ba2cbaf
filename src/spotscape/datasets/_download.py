"""Files that are fetched once: complete, checked and cached, or not there at all."""

from __future__ import annotations

import io
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from spotscape._core.logging import logger, warn
from spotscape._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

DATA_FOLDER_VARIABLE: Final = "SPOTSCAPE_DATA"
_RETRIES = 2
_CLIENT_ERRORS = range(400, 500)
# No file of ours is a tenth of it, and no useful connection is slower.
_MOST_BYTES, _MOST_SECONDS = 2**30, 1800.0
_SHA256 = re.compile("[0-9a-f]{64}")


def read_prepared(name: str, check: Callable[[AnnData], object]) -> AnnData | None:
    """The file ``name`` in the folder that the environment variable ``SPOTSCAPE_DATA`` names, if it is there.

    ``check`` raises a ValueError or KeyError for a file of another tissue.
    """
    from anndata import read_h5ad

    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    path = Path(folder or "").expanduser() / name
    if not folder or not path.is_file():
        return None
    logger.info("Reading %s (%s).", path, DATA_FOLDER_VARIABLE)
    try:
        adata = read_h5ad(path)
        check(adata)
    except Exception as error:
        msg = (
            f"{path} is not the expected file ({error}). It may be truncated, or belong to another tissue. Replace it, "
            f"or remove it from the folder that {DATA_FOLDER_VARIABLE} names; the tissue is then downloaded."
        )
        raise ValueError(msg) from error
    return adata


def fetch(url: str, name: str, read: Callable[[Path], Any] = Path, *, sha256: str | None = None) -> Any:
    """What ``read`` makes of the file ``name`` in ``settings.datasetdir``, to which ``url`` is downloaded once.

    ``read`` raises a ValueError for another file; without it, the path is returned. A file reaches its name only when
    it is complete and right, and whatever had that name stays until then. Where ``sha256`` is not known beforehand, it
    is recorded in ``<name>.sha256`` at the first download, after ``read`` succeeded. From then on a download must have
    that checksum, or that of the cached file: a record may be damaged too.
    """
    import pooch

    path = settings.datasetdir / name
    record = path.with_name(f"{path.name}.sha256")
    recorded = record.read_bytes().decode(errors="replace").strip() if record.is_file() else ""
    accepted = {sha256 or recorded} if sha256 or _SHA256.fullmatch(recorded) else set()
    found = content = None
    is_readable = True
    if path.is_file():
        found = pooch.file_hash(path)
        try:
            content = read(path)
        except ValueError:
            is_readable = False
    if found is None or not is_readable or (accepted and found not in accepted):
        if found is not None:
            warn(f"{path} cannot be read or has another checksum than the original; downloading it again.")
            if sha256 is None:
                accepted = accepted | {found} if is_readable else accepted - {found}
        logger.info("Downloading %s to %s.", url, path)
        _download(url, path, accepted, read)
        found, content = pooch.file_hash(path), read(path)
    if sha256 is None and found != recorded:
        new = path.with_name(f"{path.name}.sha256.new")
        new.write_text(f"{found}\n")
        new.replace(record)
    return content


class FileMissingError(ConnectionError):
    """The server answered, and does not give the file: asking again would not help."""


class _Bar(tqdm):
    """A progress bar, shown if settings say so, that breaks off what takes too long or grows too large."""

    def __init__(self) -> None:
        # One that is disabled would not count.
        super().__init__(unit="B", unit_scale=True, file=None if settings.progress_bar else io.StringIO())

    def __bool__(self) -> bool:
        return True

    def update(self, n: float | None = 1) -> Any:
        """Count what arrived."""
        if self.n > _MOST_BYTES or time.time() - self.start_t > _MOST_SECONDS:
            msg = f"The download was broken off after {self.n:,} bytes: it is too large or too slow."
            raise FileMissingError(msg)
        return super().update(n)


def _download(url: str, path: Path, accepted: set[str], read: Callable[[Path], object]) -> None:
    """Pooch writes to a temporary file, and tries again; what is right takes the name ``path``."""
    import pooch
    import requests

    new = f"{path.name}.new"
    remedy = (
        f"Nothing was kept. Call again, or download it yourself to {path}, or set {DATA_FOLDER_VARIABLE} to a folder "
        "that holds the prepared files."
    )

    def fetch_and_read(address: str, target: str, registry: object) -> None:
        try:
            with _Bar() as bar:
                pooch.HTTPDownloader(progressbar=bar)(address, target, registry)
        except requests.HTTPError as error:
            status = getattr(error.response, "status_code", 0)
            msg = f"{url} was refused by its server (status {status}). {remedy}"
            raise (FileMissingError if status in _CLIENT_ERRORS else requests.HTTPError)(msg) from error
        found = pooch.file_hash(target)
        if accepted and found not in accepted:
            msg = f"its checksum is {found} instead of {' or '.join(sorted(accepted))}"
            raise ValueError(msg)
        read(Path(target))

    store = pooch.create(path=path.parent, base_url="", registry={new: None}, urls={new: url}, retry_if_failed=_RETRIES)
    log = pooch.get_logger()
    level = log.level
    try:
        log.setLevel(logging.WARNING)
        (path.parent / new).unlink(missing_ok=True)
        store.fetch(new, downloader=fetch_and_read)
        (path.parent / new).replace(path)
    except requests.HTTPError as error:
        raise ConnectionError(str(error)) from error
    except requests.RequestException as error:
        msg = f"{url} could not be downloaded completely ({error}). {remedy}"
        raise ConnectionError(msg) from error
    except ValueError as error:
        msg = f"{url} gave something else than the expected file ({error}). {remedy}"
        raise ValueError(msg) from error
    except ConnectionError:
        raise
    except OSError as error:
        msg = (
            f"{path} could not be written ({error}). Set spotscape.settings.datasetdir to a folder that you may write."
        )
        raise OSError(msg) from error
    finally:
        log.setLevel(level)


def refuse_external(path: Path) -> None:
    """Refuse an HDF5 file that would have other files of this computer read in its place."""
    import h5py

    def visit(group: h5py.Group) -> None:
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                msg = f"{name!r} is a link to another file"
                raise ValueError(msg)
            entry: Any = group[name]
            if isinstance(entry, h5py.Group):
                visit(entry)
            elif entry.external or entry.is_virtual:
                msg = f"the values of {name!r} lie in another file"
                raise ValueError(msg)

    with h5py.File(path, "r") as file:
        visit(file)
