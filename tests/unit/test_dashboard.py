"""The HTTP pages of a Dask scheduler that a site asks for: below a secret path, and nowhere else."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import pytest

pytest.importorskip("distributed")

import dask
from distributed.utils import format_dashboard_link

from portico.clusters import silent

pytestmark = pytest.mark.dask


def answer(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


async def ask(paths: list[str]) -> tuple[str, list[int]]:
    options = {"protocol": "inproc://", "dashboard_address": "127.0.0.1:0", "dashboard": False}
    async with silent.SilentScheduler(**options) as scheduler:
        port = scheduler.http_server.port
        link = format_dashboard_link("127.0.0.1", port).replace(str(port), "PORT")
        return link, [await asyncio.to_thread(answer, port, path) for path in paths]


@pytest.mark.parametrize("template", ["{scheme}://{host}:{port}/status", "/user/ada/proxy/{port}/status"])
def test_pages_are_below_a_secret_path(template: str) -> None:
    secret, page = silent._SECRET, "json/counts.json"
    assert len(secret) >= 32
    with dask.config.set({"distributed.dashboard.link": template}):
        link, answers = asyncio.run(
            ask([page, f"{secret}/{page}", f"{secret[:-1]}x/{page}", "sitemap.json", "", secret])
        )
        again, _ = asyncio.run(ask([page]))
    assert (
        link
        == again
        == template.format(scheme="http", host="127.0.0.1", port="PORT").replace("/status", f"/{secret}/status")
    )
    assert answers[:5] == [404, 200, 404, 404, 404]
    assert answers[5] in {200, 404}  # the first page needs Bokeh
