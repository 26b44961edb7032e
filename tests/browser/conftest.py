"""Chromium without a window, and pages for it; without Chromium these tests are skipped."""

import shutil
import sys
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LOG = "goog:loggingPrefs"


class Chromium:
    """One browser window of a given size; `phone` as one that is touched."""

    def __init__(self, width: int, height: int, phone: bool = False):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for switch in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
            options.add_argument(f"--{switch}")
        options.add_argument(f"--window-size={width},{height}")
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        options.set_capability(LOG, {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, page: Path, part: str = "") -> int:
        """Load a page from disk; the milliseconds until its leaderboard worked."""
        self.driver.get("about:blank")
        self.driver.get(page.as_uri() + part)
        return int(self.wait("return document.documentElement.dataset.ready"))

    def run(self, script: str, *values):
        return self.driver.execute_script(script, *values)

    def wait(self, script: str, seconds: float = 20):
        """The first true value of a script."""
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.run(script))

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def complaints(self) -> list[str]:
        """What the browser wrote into its console that is no mere information."""
        wrong = ("WARNING", "SEVERE")
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] in wrong]


def window(**size):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Debian's packages chromium and chromium-driver, which are not here")
    browser = Chromium(**size)
    yield browser
    browser.driver.quit()


@pytest.fixture(scope="module")
def desktop():
    yield from window(width=1200, height=900)


@pytest.fixture(scope="module")
def phone():
    yield from window(width=390, height=844, phone=True)
