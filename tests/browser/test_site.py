"""The documentation as a site: built without a warning, and every page in Chromium."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.chromium import Page, browser, require
from tests.pages import DOCS, REPOSITORY
from tests.services.farm.need import missing

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
WIDTHS = (1440, 800, 390)
BROWSED = ("index", "first-steps", "why", "troubleshooting", "reference-cli", "reference-yaml", "reference-python")
"""Pages that are looked at, of each kind."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    for module in ("sphinx", "myst_parser", "furo", "numpydoc", "sphinx_click"):
        if find_spec(module) is None:
            missing(f"{module} is not installed; make docs and make test-all install it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return folder


class Links(HTMLParser):
    """What a page refers to, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets, self.loaded, self.anchors = set[str](), set[str](), set[str]()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name == "href" and value and tag == "a":
                self.targets.add(value)
            elif name in {"src", "href"} and value and tag in {"script", "link", "img", "iframe"}:
                self.loaded.add(value)


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {page.name: Links(page) for page in site.glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= {name.removesuffix(".html") for name in pages}
    wrong = []
    for name, links in pages.items():
        for target in links.targets | links.loaded:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                wrong += [f"{name} loads {target}"] if target in links.loaded else []
                continue
            path = unquote(url.path) or name
            if not (site / path).exists():
                wrong.append(f"{name}: {target}")
            elif url.fragment and path in pages and unquote(url.fragment) not in pages[path].anchors:
                wrong.append(f"{name}: no {target}")
    assert wrong == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)


def test_every_command_and_public_name_is_there(site: Path) -> None:
    from portico import __all__ as names
    from portico.cli import cli

    commands = (site / "reference-cli.html").read_text()
    assert [name for name in cli._commands_at if f"portico {name}" not in re.sub("<[^>]+>", "", commands)] == []
    assert "--accept-changed-input" in commands
    python = (site / "reference-python.html").read_text()
    assert [name for name in names if name != "__version__" and f'id="portico.{name}"' not in python] == []
    keys = re.sub("<[^>]+>", "", (site / "reference-yaml.html").read_text())
    assert "patience (number, above 0; default 120.0)" in keys


def test_names_break_after_separators_and_options_stay_whole(site: Path) -> None:
    exports = (site / "exports.html").read_text()
    assert '<span class="pre">exports.pyhf.<wbr>pyhf_<wbr>workspace</span>' in exports
    assert '<span class="pre option">--on</span>' in (site / "executors.html").read_text()


def test_signatures_of_models_have_names_alone(site: Path) -> None:
    python = re.sub("<[^>]+>", "", (site / "reference-python.html").read_text())
    assert "Sample( *, name, kind=...," in " ".join(python.split())
    assert "Annotated" not in python


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require()
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


BEYOND = """
const all = [...document.querySelectorAll('body *')];
const boxes = all.filter(e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX));
const own = boxes.filter(e => e.matches('.table-wrapper, pre, .sidebar-scroll, .toc-scroll'));
const wide = boxes.filter(e => !own.includes(e) && e.scrollWidth > e.clientWidth + 1);
const beyond = [...document.querySelectorAll('article *')].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !own.some(box => box.contains(e)));
return [...wide, ...beyond].map(e => e.outerHTML.slice(0, 90));
"""
"""What makes a page scroll sideways, or is cut off: tables and code have their own boxes that scroll."""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_and_say_nothing(site: Path, page: Page, width: int, theme: str) -> None:
    names = sorted(path.stem for path in site.glob("*.html")) if theme == "light" else BROWSED
    for name in names:
        page.open(site / f"{name}.html", width, theme, script=False)
        assert page.do("return document.title.includes('Portico')")
        assert page.errors == [], name
        assert page.do("return document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide at {width}"
        assert page.do(BEYOND) == [], f"{name} is too wide at {width}"
        hidden = page.do("return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
        assert hidden == [], name
        if name in BROWSED:
            page.shoot(f"site-{name}-{width}-{theme}")


@pytest.mark.browser
def test_search_finds_a_word(site: Path, page: Page) -> None:
    page.open(site / "search.html", address="?q=quarantine", script=False)
    page.wait("return document.querySelectorAll('#search-results li a').length > 0")
    assert page.errors == []
