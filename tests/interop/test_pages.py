"""The page for people, in Debian's Chromium, over a real server with pushed images."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.e2e.serving import Served, served
from tests.interop.browser import CONTRAST, OVERFLOW, STRUCTURE, Browser, browsing, document
from tests.interop.conftest import program

from distore.oci import mediatypes
from distore.oci.digest import Digest

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]
EVIL = "<img src=x onerror=alert(1)>\u202e</td>"
LONG = "team/tools/a-name-that-somebody-made-as-long-as-names-of-repositories-tend-to-be-in-large-companies"
PAGES = (
    "/",
    "/?q=app",
    "/?q=nothing-of-that-name",
    "/ui/r/team/app",
    "/ui/r/team/app:2",
    "/ui/r/team/app:1",
    f"/ui/r/{LONG}:1",
    "/ui/running",
    "/ui/r/no/such",
)


class Filled:
    """A registry that ``push_everything`` has filled."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.url = f"http://{server.address}"

    def blob(self, repository: str, data: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": self.server.push(repository, data), "size": len(data)}

    def put(self, repository: str, name: str | None, data: bytes, media_type: str) -> dict[str, object]:
        digest = Digest.of(data)
        path = f"/v2/{repository}/manifests/{name or digest}"
        answer = self.server.ask("PUT", path, data, content_type=media_type)
        assert answer.status == 201, answer
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(
        self, repository: str, name: str | None, architecture: str, *layers: bytes
    ) -> dict[str, object]:
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-11-01T10:00:00Z",
            "config": {
                "Entrypoint": ["/bin/serve", "--fast"],
                "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
                "Labels": {"org.example.evil": EVIL, "org.example.long": "x" * 300},
            },
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [
                {"created_by": "/bin/sh -c #(nop) ADD file:1a2b3c in / "},
                {"created_by": "ENV LANG=C.UTF-8", "empty_layer": True},
                {"created_by": "RUN /bin/sh -c make && make install # buildkit"},
            ],
        }
        fields = {
            "config": self.blob(repository, json.dumps(config).encode(), mediatypes.OCI_CONFIG),
            "layers": [self.blob(repository, layer, mediatypes.OCI_LAYER_GZIP) for layer in layers],
        }
        return self.put(
            repository, name, document(mediatypes.OCI_MANIFEST, **fields), mediatypes.OCI_MANIFEST
        )

    def push_everything(self) -> None:
        base = b"base" * 100_000
        self.image("team/app", "1", "amd64", base, b"one" * 30_000)
        children = [
            {
                **self.image("team/app", None, name, base, name.encode() * 20_000),
                "platform": {"os": "linux", "architecture": name},
            }
            for name in ("amd64", "arm64")
        ]
        absent = {"mediaType": mediatypes.OCI_MANIFEST, "digest": Digest.of(b"absent"), "size": 6}
        children.append({**absent, "platform": {"os": "linux", "architecture": "s390x"}})
        data = document(mediatypes.OCI_INDEX, manifests=children)
        index = self.put("team/app", "2", data, mediatypes.OCI_INDEX)
        empty = self.blob("team/app", b"{}", mediatypes.OCI_EMPTY)
        fields = {
            "config": empty,
            "layers": [empty],
            "subject": index,
            "artifactType": "application/spdx+json",
        }
        self.put("team/app", None, document(mediatypes.OCI_MANIFEST, **fields), mediatypes.OCI_MANIFEST)
        self.image(LONG, "1", "riscv64", base, b"more" * 5000)
        for number in range(40):
            self.server.push(f"other/service-{number:02}", b"x")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with served(tmp_path_factory.mktemp("served")) as server:
        registry = Filled(server)
        registry.push_everything()
        yield registry


@pytest.fixture
def at(browser: Browser, filled: Filled) -> Browser:
    """The browser, as it is at first, on the first page."""
    browser.look()
    browser.driver.get(f"{filled.url}/")
    browser.complaints()
    return browser


def click(browser: Browser, text: str) -> None:
    browser.driver.find_element(By.LINK_TEXT, text).click()


def test_one_finds_from_the_start_to_a_layer_of_an_image(at: Browser) -> None:
    click(at, "team/app")
    assert "linux/arm64" in at.text()
    assert "SBOM" in at.text()

    click(at, "2")
    assert "not here" in at.text()

    click(at, "linux/arm64")
    text = at.text()
    assert "RUN make && make install" in text
    assert "/bin/serve" in text
    assert LONG in text  # has the same base

    click(at, "manifest")
    assert '"schemaVersion": 2' in at.text()
    assert at.complaints() == []


def test_what_a_label_says_is_shown_and_not_done(at: Browser, filled: Filled) -> None:
    at.driver.get(f"{filled.url}/ui/r/team/app:1")

    assert "<img src=x onerror=alert(1)>\u2308U+202E\u230b</td>" in at.text()
    assert at.run("return document.images.length") == 0
    assert at.complaints() == []


def test_the_list_follows_what_is_typed(at: Browser) -> None:
    at.driver.find_element(By.ID, "search").send_keys("app")

    at.until("return document.querySelectorAll('#results tbody tr').length === 1")

    assert "team/app" in at.text()
    assert at.driver.current_url.endswith("/?q=app")
    assert "1 repository" in at.run("return document.getElementById('said').textContent")
    assert at.complaints() == []


def test_enter_searches_from_every_page(at: Browser, filled: Filled) -> None:
    at.driver.get(f"{filled.url}/ui/running")
    at.driver.find_element(By.ID, "search").send_keys("service-07", Keys.ENTER)

    at.until(
        "return location.pathname === '/' && document.querySelectorAll('#results tbody tr').length === 1"
    )

    assert "other/service-07" in at.text()


def test_tags_are_filtered_while_one_types(at: Browser, filled: Filled) -> None:
    at.driver.get(f"{filled.url}/ui/r/team/app")
    at.driver.find_element(By.ID, "filter").send_keys("2")

    at.until("return document.querySelectorAll('#results tbody tr').length === 1")

    assert at.driver.find_elements(By.CSS_SELECTOR, "#results .copy")
    assert at.complaints() == []


def test_a_pull_line_is_copied(at: Browser, filled: Filled) -> None:
    at.command(
        "Browser.grantPermissions",
        origin=filled.url,
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
    )
    at.driver.get(f"{filled.url}/ui/r/team/app:2")

    at.driver.find_element(By.CSS_SELECTOR, "[aria-label='Copy the podman command']").click()
    at.until("return document.getElementById('said').textContent === 'The podman command was copied'")

    found = at.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert found == f"podman pull --tls-verify=false {filled.server.address}/team/app:2"


def test_the_copied_line_pulls_the_image(at: Browser, filled: Filled, tmp_path: Path) -> None:
    at.driver.get(f"{filled.url}/ui/r/team/app:1")
    line = at.run("return document.querySelector('[data-name=\"skopeo command\"]').dataset.copy").split()

    done = subprocess.run(
        [program("skopeo"), "--insecure-policy", *line[1:]], cwd=tmp_path, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "app" / "index.json").exists()


def test_everything_is_reached_with_the_keyboard(at: Browser) -> None:
    body = at.driver.find_element(By.TAG_NAME, "body")

    body.send_keys(Keys.TAB)
    assert at.run("return document.activeElement.textContent") == "Skip to the content"
    assert at.run("return document.activeElement.getBoundingClientRect().top") >= 0

    at.driver.switch_to.active_element.send_keys(Keys.ENTER)
    at.until("return document.activeElement.id === 'main'")
    at.driver.switch_to.active_element.send_keys(Keys.TAB)

    assert at.run("return document.activeElement.closest('main') !== null")
    outline = at.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_all_of_it_works_without_scripts(at: Browser, filled: Filled) -> None:
    at.look(scripts=False)
    at.driver.get(f"{filled.url}/")
    field = at.driver.find_element(By.ID, "search")
    field.send_keys("app", Keys.ENTER)

    at.until("return location.search === '?q=app' && document.readyState === 'complete'")
    rows = at.driver.find_elements(By.CSS_SELECTOR, "#results tbody tr")
    assert len(rows) == 1
    assert at.driver.current_url.endswith("/?q=app")

    click(at, "team/app")
    click(at, "1")
    assert at.driver.find_elements(By.CSS_SELECTOR, ".copy") == []
    assert "docker pull" in at.driver.find_element(By.TAG_NAME, "main").text
    click(at, "Running")
    assert "Nothing is running." in at.driver.find_element(By.TAG_NAME, "main").text


def test_an_upload_is_seen_while_it_runs(at: Browser, filled: Filled) -> None:
    at.driver.get(f"{filled.url}/ui/running")
    location = filled.server.ask("POST", "/v2/team/app/blobs/uploads/").headers["location"]
    path = location.removeprefix(filled.url)

    answer = filled.server.ask("PATCH", path, b"x" * 30_000)
    at.until("return document.querySelector('#running').innerText.includes('30.0\u00a0kB')")
    assert "upload team/app" in at.text()
    filled.server.ask("PATCH", answer.headers["location"].removeprefix(filled.url), b"x" * 20_000)
    at.until("return document.querySelector('#running').innerText.includes('50.0\u00a0kB')")
    assert at.run(STRUCTURE) == []

    filled.server.ask("DELETE", answer.headers["location"].removeprefix(filled.url))
    at.until("return document.querySelector('#running').innerText.includes('Nothing is running.')")
    assert at.complaints() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("width", "zoom"), [(1200, 1), (1200, 2), (320, 1)], ids=["wide", "zoomed", "narrow"]
)
def test_every_page_can_be_read_by_everybody(
    at: Browser, filled: Filled, tmp_path: Path, *, dark: bool, width: int, zoom: float
) -> None:
    at.look(dark=dark, width=width, zoom=zoom)

    for number, path in enumerate(PAGES):
        at.driver.get(filled.url + path)
        at.shot(tmp_path / f"{number}.png")
        assert at.run(STRUCTURE) == [], path
        assert at.run(CONTRAST) == [], path
        assert at.run(OVERFLOW) == [], path
        complaints = [line for line in at.complaints() if "status of 404" not in line]
        assert complaints == [], path


def test_a_browser_that_logs_in_sees_what_its_user_may(browser: Browser, tmp_path: Path) -> None:
    users = tmp_path / "users"
    subprocess.run([program("htpasswd"), "-B", "-b", "-c", str(users), "ann", "not-a-secret"], check=True)
    browser.look()
    with served(tmp_path, "--htpasswd", str(users)) as server:
        assert server.ask("GET", "/").headers["www-authenticate"].startswith("Basic ")
        browser.driver.get(f"http://ann:not-a-secret@{server.address}/")

        assert "Nothing is here yet" in browser.text()
        assert "to ann" in browser.run("return document.querySelector('footer').innerText")


def test_the_answers_of_a_server_carry_the_policy(filled: Filled) -> None:
    connection = http.client.HTTPConnection(filled.server.address, timeout=30)
    connection.request("HEAD", "/")
    response = connection.getresponse()

    assert response.status == 200
    assert response.getheader("content-security-policy", "").startswith("default-src 'none'")
    assert int(response.getheader("content-length", "0")) > 0
    assert response.read() == b""
    connection.close()
