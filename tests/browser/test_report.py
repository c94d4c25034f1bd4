"""The report as a browser shows it: no errors, no sideways scrolling, quick, usable with the keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from portico.report import write_report
from portico.results.product import Product
from tests.browser.chromium import Page, browser, require
from tests.made_runs import HOSTILE, axis, cutflow, heat, histogram, make_run

pytestmark = [pytest.mark.full, pytest.mark.browser, pytest.mark.timeout(900)]
WIDTHS = (1440, 800, 390)
KINDS = {"data": "data", "qcd": "background", "top": "background", "hnl": "signal"}
FIGURE = "document.getElementById('plot')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require()
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def products(scale: int = 1) -> dict[str, Product]:
    def varied(category: str, name: str) -> dict[str, Product]:
        base = f"{category}_{name}"
        tags = {"": "nominal", "_up": "pileup:up", "_down": "pileup:down"}
        return {f"{base}{end}": histogram(400 * scale, variation=[base, tag]) for end, tag in tags.items()}

    labels = {str(i): f"<b>{i}</b>" for i in range(1, 41)}
    named = histogram(50)
    return {
        **{name: product for c in ("SR", "CR") for v in ("mass", "pt") for name, product in varied(c, v).items()},
        "empty": histogram(0),
        "named": Product(named.kind, {**named.meta, "axes": [axis(40, 0, 2, labels=labels)]}, named.arrays),
        "map": heat(),
        HOSTILE: histogram(10, title=HOSTILE),
        "cutflow": cutflow(1000 * scale, 554 * scale, 415 * scale, names=(HOSTILE, "a cut with a rather long name")),
    }


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, two backgrounds and a signal, with blinded intervals, faults, values and hostile names."""
    results = {name: products(3 if name == "data" else 1) for name in KINDS}
    plot = {
        "label": HOSTILE, "note": "13 TeV",
        "groups": [
            {"label": HOSTILE, "samples": ["qcd"]}, {"label": "N #rightarrow #mu#pi", "samples": ["hnl"], "scale": 5},
        ],
    }  # fmt: skip
    manifest = {"samples": KINDS, "plot": plot, "blind": {"SR_mass": [[0.9, 1.1]]}, "needs": {"limits": ["histograms"]}}
    values = {
        HOSTILE: {HOSTILE: HOSTILE},
        "masses": [{"m": i, "limit": [0.1 * i, None], "why": "long " * 40} for i in range(9)],
    }
    run = make_run(tmp_path_factory.mktemp("run") / "run", results, state="partial", failure=HOSTILE, values=values,
                   manifest=manifest)  # fmt: skip
    return write_report(run)


def choose(page: Page, selector: str, value: str) -> None:
    """Choose an option as a user does, and wait until the figure is another."""
    script = f"""
        const select = document.querySelector(arguments[0]), done = arguments[2];
        const area = {FIGURE}, before = area.layout && JSON.stringify(area.data);
        select.value = arguments[1]; select.dispatchEvent(new Event('change'));
        const wait = (n) => JSON.stringify(area.data) !== before || !n ? done(n) : setTimeout(wait, 50, n - 1);
        wait(200);"""
    page.driver.execute_async_script(script, selector, value)


def traces(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.do(f"return JSON.parse(JSON.stringify({FIGURE}.data))")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_errors_and_no_sideways_scrolling(page: Page, report: Path, width: int, theme: str) -> None:
    page.open(report, width, theme)
    page.show_all()
    assert page.errors == []
    assert page.wide() == []
    assert page.do("return document.documentElement.scrollWidth") <= width
    page.do("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.wide() == []
    page.shoot(f"report_{width}_{theme}")


def test_data_are_black_points_over_a_stack_with_a_ratio(page: Page, report: Path) -> None:
    page.open(report, address="#plot/histograms/SR/mass")
    drawn = [trace for trace in traces(page) if trace.get("name")]
    (data,) = [trace for trace in drawn if trace["name"] == "data"]
    assert (data["mode"], data["marker"]["color"]) == ("markers", "#000")
    assert len([trace for trace in drawn if trace.get("fillcolor", "").startswith("#")]) == 2
    assert [trace["name"] for trace in drawn if "syst" in trace["name"]] == ["stat. \N{CIRCLED PLUS} syst."]
    assert any(trace.get("yaxis") == "y2" and trace["mode"] == "markers" for trace in traces(page))
    assert not any(0.9 <= x <= 1.1 for x in data["x"]), "blinded"
    hover = next(trace["text"] for trace in traces(page) if trace.get("text"))
    assert sum("data: blinded" in text for text in hover) == 4
    assert page.do(f"return {FIGURE}.querySelectorAll('.errorbar').length") > 0


def test_everything_can_be_chosen(page: Page, report: Path) -> None:
    page.open(report)
    for category, variable in (("", "empty"), ("", "named"), ("", "map"), ("", HOSTILE), ("*", "mass"), ("CR", "pt")):
        choose(page, "#p-category", category)
        choose(page, "#p-variable", variable)
        page.wait("return document.querySelectorAll('#plot .main-svg, #plot.main-svg').length > 0")
    choose(page, "#p-variation", "pileup")
    assert {"pileup:up", "pileup:down"} <= {trace.get("name") for trace in traces(page)}
    for box in ("p-log", "p-shape", "p-ratio", "p-syst"):
        page.find(f"#{box}")[0].click()
        time.sleep(0.5)
    assert page.do(f"return {FIGURE}.layout.yaxis.type") == "log"
    shapes = [
        sum(x or 0 for x in trace["y"][1:-1]) for trace in traces(page) if trace.get("line", {}).get("width") == 2
    ]
    assert np.allclose([s for s in shapes if s], 1.0, atol=0.02)
    before = len(traces(page))
    page.find("#legend button")[0].click()
    page.wait(f"return {FIGURE}.data.length !== {before}")
    change = "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
    for select, value in (
        ("c-show", "c"),
        ("c-show", "e"),
        ("c-rows", "samples"),
        ("c-rows", "groups"),
        ("c-show", "c"),
    ):
        page.do(f"{change} s.dispatchEvent(new Event('change'))", select, value)
    assert "41.5%" in page.find("#flow")[0].text
    assert page.errors == []


def test_hostile_names_are_text(page: Page, report: Path) -> None:
    page.open(report, address=f"#plot/histograms//{quote(HOSTILE, safe='')}")
    page.show_all()
    assert page.do("return document.querySelectorAll('script').length") == len(
        re.findall("<script", report.read_text())
    )
    assert HOSTILE in page.find("#flow thead")[0].text
    assert HOSTILE in page.find("#legend")[0].text
    assert HOSTILE in page.do(f"return {FIGURE}.querySelector('.xtitle').textContent")
    assert page.errors == []


def test_nothing_goes_to_the_network(page: Page, report: Path) -> None:
    page.open(report)
    page.show_all()
    loaded = page.do("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []
    refused = page.driver.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), (e) => done(String(e)))"
    )
    assert "Failed to fetch" in refused
    assert any("Content Security Policy" in error for error in page.errors)
    assert page.find("[data-title*=loud]") == []


def test_links_lead_to_what_they_name(page: Page, report: Path) -> None:
    page.open(report)
    for link in page.find("nav a"):
        link.click()
        time.sleep(0.3)
        target = link.get_attribute("href").partition("#")[2]
        assert -5 <= page.do("return document.getElementById(arguments[0]).getBoundingClientRect().top", target) < 900


def test_a_picture_of_the_result_is_chosen_by_keyboard(page: Page, report: Path) -> None:
    from selenium.webdriver import Keys

    page.open(report)
    variables = page.find("#p-variable")[0]
    variables.send_keys(Keys.END)
    time.sleep(0.5)
    assert page.do("return location.hash").startswith("#plot/histograms/")
    chip = page.find("#legend button")[0]
    chip.send_keys(Keys.SPACE)
    page.wait(
        "return document.activeElement.closest('#legend') !== null && document.activeElement.ariaPressed === 'false'"
    )


def test_it_prints(page: Page, report: Path) -> None:
    page.open(report)
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible(page: Page, report: Path, theme: str) -> None:
    page.open(report, theme=theme)
    page.show_all()
    assert page.inaccessible() == []


def test_a_run_without_results(page: Page, tmp_path: Path) -> None:
    page.open(write_report(make_run(tmp_path / "run", {}, chunks=0)), 390)
    page.show_all()
    assert page.errors == []
    assert page.wide() == []


def test_a_failed_run(page: Page, tmp_path: Path) -> None:
    results: dict[str, dict[str, Product]] = {"a": {}}
    page.open(write_report(make_run(tmp_path / "run", results, state="failed", failure="no such file", chunks=1)), 390)
    page.show_all()
    assert page.errors == []
    assert "no such file" in page.find("#lost")[0].text
    assert page.wide() == []


def test_two_hundred_samples_open_quickly(page: Page, tmp_path: Path) -> None:
    few = [histogram(2000) for _ in range(40)]
    names = [f"{category}_v{v}" for category in "abcdefghij" for v in range(200)]
    kinds = (
        {"data": "data"}
        | {f"p{i % 15}_{i}": "background" for i in range(150)}
        | {f"hnl{i}": "signal" for i in range(49)}
    )
    results = {s: {name: few[(i + k) % 40] for k, name in enumerate(names)} for i, s in enumerate(kinds)}
    report = write_report(make_run(tmp_path / "run", results, manifest={"samples": kinds}, chunks=1))
    assert report.stat().st_size < 8_000_000
    page.open(report)
    seconds = page.cpu()
    assert page.errors == []
    assert page.do("return document.querySelectorAll('#p-variable option').length") == 200
    assert seconds < 2
