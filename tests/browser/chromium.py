"""A page of a file in Chromium without a screen."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.services.farm.need import missing

SECONDS = 120.0


def require() -> None:
    """Skip the test without Selenium, Chromium or its driver."""
    if find_spec("selenium") is None:
        missing("selenium is not installed; make test-all installs it")
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            missing(f"{program} is not installed; its package is {package}")


class Page:
    """A page in a browser, at any width, light or dark."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path, width: int = 1440, theme: str = "light", address: str = "", *, script: bool = True
    ) -> Page:
        """Open a file, and wait until its script has started, if it has one."""
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.resize(width, 900)
        self.driver.get("about:blank")
        self.driver.get(f"file://{path}{address}")
        ready = "document.documentElement.dataset.ready === '1'" if script else "document.readyState === 'complete'"
        return self.wait(f"return {ready}")

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def wait(self, script: str) -> Page:
        """Wait until a script returns something true."""
        deadline = time.monotonic() + SECONDS
        while not self.do(script):
            assert time.monotonic() < deadline, f"never: {script}; {self.errors}"
            time.sleep(0.1)
        return self

    def do(self, script: str, *values: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> list[Any]:
        """Return what a CSS selector finds."""
        return list(self.driver.find_elements("css selector", selector))

    def cpu(self) -> float:
        """Return the CPU seconds that the page has used for scripts, layout and drawing since it was opened."""
        found = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return float(next(metric["value"] for metric in found if metric["name"] == "TaskDuration"))

    @property
    def errors(self) -> list[str]:
        """Errors and warnings of the console since they were asked for last."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def wide(self) -> list[str]:
        """Return what reaches beyond the window and is not in a box that scrolls by itself."""
        found: list[str] = self.do(
            "return [...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.wide, .js-plotly-plot')"
            " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
        )
        return found

    def inaccessible(self) -> list[tuple[str, list[str]]]:
        """Return the rules of WCAG 2.1 AA that axe-core finds broken, each with the first elements that break it."""
        if find_spec("axe_core_python") is None:
            missing("axe-core-python is not installed; make test-all installs it")
        from axe_core_python.selenium import Axe

        self.do("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = Axe().run(self.driver, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
        assert "color-contrast" in {rule["id"] for rule in found["passes"]}
        return [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found["violations"]]

    def show_all(self) -> None:
        """Look at everything once, so that everything is drawn."""
        for name in ("graph", "timeline", "rates"):
            self.do(f"document.getElementById('{name}').scrollIntoView()")
            self.wait(f"return !!document.getElementById('{name}').textContent")

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page, if pictures are to be kept."""
        if folder := os.environ.get("PORTICO_SCREENSHOTS"):
            width, height = self.do("return [innerWidth, document.documentElement.scrollHeight]")
            self.do("scrollTo(0, 0)")
            self.resize(width, min(height, 12_000))
            time.sleep(1.0)
            shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium without a screen and without its own requests to the network."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(SECONDS)
        driver.set_script_timeout(SECONDS)
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})  # CPU, not the clock
        yield Page(driver)
    finally:
        driver.quit()
