"""A JupyterLab on this machine, and a notebook in it as a browser shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.services.farm.need import missing

SETTINGS = {
    "apputils-extension/themes": {},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are part of the page, and not only those in view.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
LIGHT = "JupyterLab Light"
LOAD, CLICK = 60.0, 20.0
CELLS = ".jp-Notebook .jp-CodeCell"
BROKEN = ("Error displaying widget", "Loading widget", "model not found", "[object Object]")


def require() -> None:
    """Skip the test without JupyterLab, Selenium, Chromium or its driver."""
    for module in ("jupyterlab", "selenium"):
        if find_spec(module) is None:
            missing(f"{module} is not installed; make test-all installs it")
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            missing(f"{program} is not installed; its package is {package}")


class Lab:
    """A server on a free port of this machine, with a token; its folder, settings and signatures are its own."""

    def __init__(self, folder: Path, home: Path, environment: Mapping[str, str], theme: str = LIGHT) -> None:
        self.folder = folder
        settings = {**SETTINGS, "apputils-extension/themes": {"theme": theme}}
        for name, values in settings.items():
            path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self._runtime, self._log = home / "runtime", home / "log"
        places = {
            "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data", "IPYTHONDIR": home / "ipython",
            "JUPYTER_RUNTIME_DIR": self._runtime, "JUPYTERLAB_SETTINGS_DIR": home / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        }  # fmt: skip
        self._environment = {**os.environ, **environment, **{name: str(path) for name, path in places.items()}}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.token = ""

    def __enter__(self) -> Lab:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root",
                   f"--ServerApp.root_dir={self.folder}", "--LabServerApp.news_url="]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + LOAD
        while not (found := list(self._runtime.glob("jpserver-*.json"))):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)
        time.sleep(0.2)
        server = json.loads(found[0].read_text())
        self.url, self.token = server["url"], server["token"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def end_kernels(self) -> None:
        """End all kernels."""
        for session in json.loads(self._ask("api/sessions")):
            self._ask(f"api/sessions/{session['id']}", "DELETE")

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = Request(f"{self.url}{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=LOAD) as answer:
            content: bytes = answer.read()
            return content


class Page:
    """A notebook in a browser."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def find(self, selector: str) -> list[Any]:
        """Return what a CSS selector finds."""
        return list(self._driver.find_elements("css selector", selector))

    def wait(self, what: str, ready: Any, seconds: float) -> Any:
        """Wait until a function returns something true, and return it."""
        from selenium.common.exceptions import StaleElementReferenceException

        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := ready():
                    return found
            except StaleElementReferenceException:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {seconds:g} s; the page says: {self.text[-2000:]}")

    @property
    def text(self) -> str:
        """What the page says."""
        return str(self._driver.find_element("css selector", "body").text)

    @property
    def prompts(self) -> list[str]:
        """What stands before each code cell: ``[1]:`` once it has run."""
        return [element.text for element in self.find(f"{CELLS} .jp-InputArea-prompt")]

    @property
    def failures(self) -> list[str]:
        """What the outputs that are errors say."""
        return [element.text for element in self.find('[data-mime-type="application/vnd.jupyter.error"]')]

    @property
    def errors(self) -> list[str]:
        """Errors of the browser's console since they were asked for last."""
        return [entry["message"] for entry in self._driver.get_log("browser") if entry["level"] == "SEVERE"]

    def run_all(self, seconds: float) -> None:
        """Run all cells with the menu, wait until the last has run, and save."""
        self._choose(".lm-MenuBar-item", "Run")
        self._choose(".lm-Menu-item", "Run All Cells")
        time.sleep(1.0)
        for button in self.find(".jp-Dialog .jp-mod-accept"):  # asks for the kernel if it has only just started
            button.click()
        self.wait("the end of the last cell", lambda: self.failures or _ran(self.prompts), seconds)
        self.save()

    def _choose(self, selector: str, text: str) -> None:
        def item() -> list[Any]:
            return [element for element in self.find(selector) if element.text.strip() == text]

        self.wait(text, item, CLICK)[0].click()

    def save(self) -> None:
        """Save the notebook with the keyboard."""
        from selenium.webdriver import ActionChains, Keys

        self.find(".jp-Notebook")[0].click()
        ActionChains(self._driver).key_down(Keys.CONTROL).send_keys("s").key_up(Keys.CONTROL).perform()
        self.wait("saving", lambda: not self.find(".jp-mod-dirty"), CLICK)
        time.sleep(1.0)

    def pictures(self) -> list[tuple[str, int]]:
        """Return the start of the address and the width of each picture in the outputs; 0 if it cannot be shown."""
        images = "[...document.querySelectorAll('.jp-OutputArea img')]"
        found = self._driver.execute_script(f"return {images}.map(i => [i.src.slice(0, 30), i.naturalWidth])")
        return [(address, width) for address, width in found]

    def shoot(self, path: Path, width: int) -> Path:
        """Take a picture of the whole notebook at a width of the window."""
        self._driver.set_window_size(width, 900)
        time.sleep(1.0)
        panel = "document.querySelector('.jp-WindowedPanel-outer')"
        height = self._driver.execute_script(f"return {panel}.firstElementChild.scrollHeight")
        self._driver.set_window_size(width, min(int(height) + 200, 12000))
        time.sleep(1.0)
        self._driver.execute_script(f"{panel}.scrollTop = 0")
        time.sleep(0.5)
        self._driver.save_screenshot(str(path))
        return path


def _ran(prompts: list[str]) -> bool:
    return bool(prompts) and prompts[-1].strip("[]: ").isdigit() and not any("*" in prompt for prompt in prompts)


@contextmanager
def browser(profile: Path, width: int = 1440) -> Iterator[Any]:
    """Start Chromium without a screen, and return its driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
        f"--window-size={width},1000",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(LOAD)
        yield driver
    finally:
        driver.quit()


@contextmanager
def opened(lab: Lab, notebook: str, profile: Path, width: int = 1440) -> Iterator[Page]:
    """Open a notebook in Chromium without a screen."""
    with browser(profile, width) as driver:
        driver.get(f"{lab.url}lab/tree/{notebook}?reset&token={lab.token}")
        page = Page(driver)
        page.wait("the cells", lambda: page.find(CELLS), LOAD)
        page.wait("the kernel", lambda: "(ipykernel) | Idle" in page.text, LOAD)
        yield page
