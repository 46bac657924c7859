"""A real Chromium without a window, driven as a person would use it; it asks nobody but the page that it is told of."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "about:blank",
)
WIDE, PHONE = (1280, 900), (390, 844)
"""Sizes of a window: of a laptop, and of a phone."""


class Browser:
    """One browser with a profile of its own."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def show(self, address: str, *, size: tuple[int, int] = WIDE, dark: bool = False, script: bool = True) -> None:
        """Open a page as somebody with such a screen, and such a taste, sees it."""
        width, height = size
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])
        self._tell("Emulation.setScriptExecutionDisabled", value=not script)
        self.driver.get(address)

    def text(self, selector: str = "body") -> str:
        """Return what is to be read in the first element that a selector finds; empty where it is hidden, or none."""
        script = (
            "const each = document.querySelector(arguments[0]); return each?.checkVisibility() ? each.innerText : ''"
        )
        return str(self.run(script, selector))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script on the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since it was last asked."""
        return [str(entry["message"]) for entry in self._log("browser")]

    def asked_for(self) -> list[str]:
        """Return every address that was asked for since it was last asked, but for the browser's own pages."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("chrome:", "data:"))]

    def picture(self, path: Path, *, most: int = 10_000) -> None:
        """Take a picture of the whole page, or of so much of it from the top."""
        size = self._tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        taken = self._tell("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(kind))  # type: ignore[no-untyped-call]

    def _tell(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


@contextlib.contextmanager
def browsing(flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Start a browser, and end it with everything that it wrote."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.fail("no Chromium on this machine: install Debian's chromium and chromium-driver")
    with tempfile.TemporaryDirectory(prefix="pool-exporter-browser-", ignore_cleanup_errors=True) as folder:
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in (*_FLAGS, f"--user-data-dir={folder}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(chromedriver))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
