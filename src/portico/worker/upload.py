"""Sending the trees that a chunk wrote to a server, under the names that they have aside; all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from portico.errors import PorticoError
from portico.files import no_connection
from portico.files.storage import storage_of
from portico.results.product import Product

__all__ = ["upload"]


def upload(products: Mapping[str, Product], folder: str) -> tuple[dict[str, Product], float]:
    """Send the trees that a chunk wrote to a server, under the hidden names that they have; all of them, or none.

    Parameters
    ----------
    products : mapping of str to Product
        Of one chunk; trees lie on this machine.
    folder : str
        A URL.

    Returns
    -------
    products : dict of str to Product
        The same, with the trees at their URLs.
    seconds : float
        How long it took.

    Raises
    ------
    RunFolderError, SpaceError, InputError
        As `Storage.write`; none of the trees is left on the server then.
    """
    began, sent, moved = time.perf_counter(), [], dict(products)
    storage = storage_of(folder)
    try:
        for name, product in products.items():
            items = []
            for item in product.items if product.kind == "tree" else ():
                url = f"{folder.rstrip('/')}/{Path(item['path']).name}"
                sent.append(url)
                storage.write(url, Path(item["path"]))
                items.append({**item, "path": url})
            if items:
                moved[name] = replace(product, items=tuple(items))
    except PorticoError as error:
        for url in () if no_connection(str(error)) else sent:
            with suppress(PorticoError):
                storage.remove(url)
        raise
    return moved, time.perf_counter() - began
