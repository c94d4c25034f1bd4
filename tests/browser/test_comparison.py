"""The page of a comparison as a browser shows it: no errors, no sideways scrolling, readable in any theme."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portico.compare import compare
from portico.report.comparison import write_comparison
from portico.results.product import Product
from tests.browser.chromium import Page, browser, require
from tests.made_runs import HOSTILE, axis, histogram, make_run

pytestmark = [pytest.mark.full, pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require()
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


MANY, FEW = histogram(500), histogram(50)


def changed(product: Product, shift: float) -> Product:
    values = product.arrays["values"].copy()
    values[3] += shift
    return replace(product, arrays={**product.arrays, "values": values})


def products(shift: float) -> dict[str, Product]:
    """Histograms that differ, that differ in rounding, and that are the same."""
    labels = {str(i): f"<b>{i}</b> with a name that is long" for i in range(1, 41)}
    named = replace(changed(MANY, shift), meta={**MANY.meta, "axes": [axis(40, 0, 2, labels=labels)]})
    long = "a_rather_long_name_of_a_histogram_of_the_control_region_" * 3
    return {
        HOSTILE: changed(MANY, shift), "named": named, "tiny": changed(MANY, 1e-13 * shift), "same": FEW,
        long: changed(FEW, shift), "empty": changed(FEW, 0.0),
    }  # fmt: skip


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    for name, shift in (("original", 0.0), ("port", 1.0)):
        make_run(folder / name, {"data": products(shift), "signal": products(0.0)})
    made = compare(folder / "original", folder / "port", draw_all=True)
    assert not made.equal
    return write_comparison(made, folder / "comparison.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 390])
def test_no_errors_and_no_sideways_scrolling(page: Page, comparison: Path, width: int, theme: str) -> None:
    page.open(comparison, width, theme, script=False)
    page.do("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.errors == []
    assert page.wide() == []
    assert page.do("return document.documentElement.scrollWidth") <= width
    page.shoot(f"comparison_{width}_{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible(page: Page, comparison: Path, theme: str) -> None:
    page.open(comparison, theme=theme, script=False)
    assert page.inaccessible() == []


def test_hostile_names_are_text_and_tables_scroll_by_keyboard(page: Page, comparison: Path) -> None:
    page.open(comparison, 390, script=False)
    assert page.do("return document.querySelectorAll('script').length") == 0
    assert HOSTILE in page.do("return document.body.textContent")
    assert all(box.get_attribute("tabindex") == "0" for box in page.find(".wide"))
    loaded = page.do("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_it_prints(page: Page, comparison: Path) -> None:
    page.open(comparison, theme="dark", script=False)
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 20_000


def test_equal_runs(page: Page, tmp_path: Path) -> None:
    run = make_run(tmp_path / "equal", {"data": products(0.0)})
    page.open(write_comparison(compare(run, run, draw_all=True), tmp_path / "equal.html"), 390, script=False)
    assert page.errors == []
    assert page.wide() == []
    assert "equal" in page.find("h1")[0].text
    assert page.inaccessible() == []
