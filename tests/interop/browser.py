"""Debian's Chromium, and what is asked of every page in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait
from tests.interop.conftest import program

_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_TALLEST: Final = 4000  # pixels of a screenshot
WAIT: Final = 20.0  # seconds

# Every text against what it stands on (WCAG 2.2, 1.4.3); pictures of text there are none.
CONTRAST: Final = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function over(top, below) {
  const share = top[3] / 255;
  return [0, 1, 2].map((n) => top[n] * share + below[n] * (1 - share)).concat(255);
}
function ground(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement)
    layers.unshift(rgba(getComputedStyle(at).backgroundColor));
  return layers.reduce((below, top) => over(top, below), [255, 255, 255, 255]);
}
function light([red, green, blue]) {
  const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
}
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const below = ground(element);
  const text = over(rgba(getComputedStyle(element).color), below);
  const [dark, bright] = [light(text), light(below)].sort((a, b) => a - b);
  const ratio = (bright + 0.05) / (dark + 0.05);
  const name = element.className || element.tagName;
  if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${name}: ${element.textContent}`);
}
return found;
"""

# Structure that assistive technology relies on.
STRUCTURE: Final = """
const found = [];
const one = (selector) => {
  const number = document.querySelectorAll(selector).length;
  if (number !== 1) found.push(`${number} of ${selector}`);
};
["h1", "main", "body > header", "body > footer", "html[lang]", "title", "nav[aria-label=Main]"].forEach(one);
let last = 0;
for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
  const level = Number(heading.tagName[1]);
  if (level > last + 1) found.push(`${heading.tagName} ${heading.textContent} after a level of ${last}`);
  last = level;
  if (!heading.textContent.trim()) found.push("an empty heading");
}
const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
if (new Set(ids).size !== ids.length) found.push("an id twice");
for (const each of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(each.getAttribute("aria-labelledby"))) found.push("a label that is not there");
for (const field of document.querySelectorAll("input:not([type=hidden])"))
  if (!field.labels.length) found.push(`no label: ${field.id}`);
for (const each of document.querySelectorAll("a, button"))
  if (!(each.getAttribute("aria-label") || each.textContent).trim()) found.push(`no name: ${each.outerHTML}`);
for (const each of document.querySelectorAll("progress"))
  if (!each.getAttribute("aria-label")) found.push("progress of nothing");
for (const table of document.querySelectorAll("table")) {
  if (!table.caption || !table.caption.textContent.trim()) found.push("a table without a caption");
  if ([...table.querySelectorAll("th")].some((head) => !head.scope)) found.push("a heading without scope");
}
for (const nav of document.querySelectorAll("nav"))
  if (!nav.getAttribute("aria-label")) found.push("navigation without a name");
for (const each of document.querySelectorAll("[style], script:not([src]), style"))
  found.push(`inline: ${each.outerHTML}`);
return found;
"""
# What sticks out to the right of the page, apart from what scrolls within itself or is for screen readers.
OVERFLOW: Final = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
return [...document.querySelectorAll("body *")]
  .filter((each) => each.getBoundingClientRect().right > width + 1)
  .map((each) => `${each.tagName}.${each.className} ${each.getBoundingClientRect().right}`);
"""


class Browser:
    """One window; ``driver`` is selenium's."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, *, dark: bool = False, width: int = 1200, zoom: float = 1, scripts: bool = True) -> None:
        """From now on."""
        media = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.command("Emulation.setEmulatedMedia", features=media)
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=int(width / zoom),
            height=int(900 / zoom),
            deviceScaleFactor=zoom,
            mobile=False,
        )

    def command(self, name: str, **words: object) -> dict[str, Any]:
        """One of Chromium's DevTools."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(name, words)
        return answer

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def text(self) -> str:
        return str(self.run("return document.querySelector('main').innerText"))

    def until(self, script: str) -> None:
        """Wait until a script is true."""
        WebDriverWait(self.driver, WAIT, poll_frequency=0.05).until(lambda _driver: self.run(script))

    def complaints(self) -> list[str]:
        """What the console got since the last time."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call] # selenium has no types here

    def shot(self, path: Path) -> None:
        """The whole page, as far as it is not too tall."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], _TALLEST), "scale": 1}
        answer = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Chromium with a profile of its own; it asks nobody but the pages it is sent to."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    try:
        driver.set_page_load_timeout(WAIT)
        yield Browser(driver)
    finally:
        driver.quit()


def document(media_type: str, **fields: object) -> bytes:
    """A manifest or an index."""
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
