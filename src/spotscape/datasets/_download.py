"""Files that are fetched once: complete, checked and cached, or not there at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spotscape._core.logging import logger, warn
from spotscape._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

DATA_FOLDER_VARIABLE: Final = "SPOTSCAPE_DATA"
_RETRIES = 2


def local_file(name: str) -> Path | None:
    """The file ``name`` in the folder named by the environment variable ``SPOTSCAPE_DATA``, if it is there."""
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    path = Path(folder).expanduser() / name if folder else None
    if path is None or not path.is_file():
        return None
    logger.info("Reading %s (%s).", path, DATA_FOLDER_VARIABLE)
    return path


def read_local(path: Path, check: Callable[[AnnData], object]) -> AnnData:
    """A prepared file of the user's folder; ``check`` raises a ValueError or KeyError for another tissue's."""
    from anndata import read_h5ad

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


def fetch(
    url: str, name: str, *, sha256: str | None = None, try_reading: Callable[[Path], object] | None = None
) -> Path:
    """Download ``url`` to ``name`` in ``settings.datasetdir`` unless the right file is there already.

    A file reaches its name only when it is complete and right, and whatever had that name stays until then.
    """
    import pooch

    path = settings.datasetdir / name

    def check(file: Path) -> None:
        found = None if sha256 is None else pooch.file_hash(str(file))
        if found != sha256:
            msg = f"its checksum is {found} instead of {sha256}"
            raise ValueError(msg)
        if try_reading is not None:
            try_reading(file)

    if path.is_file():
        try:
            check(path)
        except ValueError:
            warn(f"{path} cannot be read or has another checksum than the original; downloading it again.")
        else:
            return path
    logger.info("Downloading %s to %s.", url, path)
    _download(url, path, check)
    return path


def _download(url: str, path: Path, check: Callable[[Path], None]) -> None:
    """Pooch writes to a temporary file, and tries again; what is right takes the name ``path``."""
    import pooch
    import requests

    remedy = (
        f"Nothing was kept. Call again, or download it yourself to {path}, or set {DATA_FOLDER_VARIABLE} to a folder "
        "that holds the prepared files."
    )

    def fetch_and_check(address: str, target: str, registry: object) -> None:
        pooch.HTTPDownloader(progressbar=settings.progress_bar)(address, target, registry)
        check(Path(target))

    new = path.with_name(f"{path.name}.new")
    names = {"registry": {new.name: None}, "urls": {new.name: url}}
    store = pooch.create(path=path.parent, base_url="", retry_if_failed=_RETRIES, **names)
    log = pooch.get_logger()
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        new.unlink(missing_ok=True)
        store.fetch(new.name, downloader=fetch_and_check)
        new.replace(path)
    except requests.RequestException as error:
        msg = f"{url} could not be downloaded completely ({error}). {remedy}"
        raise ConnectionError(msg) from error
    except ValueError as error:
        msg = f"{url} gave something else than the expected file ({error}). {remedy}"
        raise ValueError(msg) from error
    except OSError as error:
        msg = f"{path} could not be written ({error}). Set spotscape.settings.datasetdir to a folder of yours."
        raise OSError(msg) from error
    finally:
        log.setLevel(level)
