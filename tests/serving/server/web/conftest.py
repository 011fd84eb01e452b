"""Headless Chromium with a camera that plays a drawn clip, and the page in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from door_pictures import door, jpeg, write_clip, write_people
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from server_process import Server, serving
from stub_server import until

# What leaves for the speakers is measured on its way; the page and the browser stay as they are.
_METER = """
window.loudest = 0;
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode) {
    const meter = new AnalyserNode(this.context);
    connect.call(this, meter);
    const samples = new Float32Array(meter.fftSize);
    setInterval(() => {
      meter.getFloatTimeDomainData(samples);
      window.loudest = Math.max(window.loudest, ...samples.map(Math.abs));
    }, 20);
  }
  return connect.call(this, to, ...more);
};
"""

OpenPage = Callable[..., Page]

expect.set_options(timeout=15_000)


def _is_fault(said: ConsoleMessage) -> bool:
    """Chromium also reports answers with an error's status; what the page makes of those is tested."""
    return said.type in ("error", "warning") and "Failed to load resource" not in said.text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for a file: while it is open, no other test of the process can run an event loop of its own."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed; `make test-page` does that on Debian as root")
    clip = write_clip(
        tmp_path_factory.mktemp("camera") / "door.mjpeg", [[], ["worn"], ["absent"], ["worn", "incorrect"]], seconds=1
    )
    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
        "--host-resolver-rules=MAP door.test 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    people = write_people(tmp_path_factory.mktemp("people"))
    models = (people, people / "green.onnx", people / "joint.onnx")
    options = [part for model in models for part in ("--model", str(model))]
    with serving(tmp_path_factory.mktemp("server"), *options) as server:
        until(lambda: server.request("GET", "/v2/health/ready")[0] == 200)
        yield server


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens the page of a server; at the end it has had no error and has asked nobody but its server."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(port: int, *, host: str = "127.0.0.1", **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", "permissions": ["camera"]} | options)
        contexts.append(context)
        context.add_init_script(_METER)
        context.set_default_timeout(15_000)
        page = context.new_page()
        origin = f"http://{host}:{port}/"
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if _is_fault(said) else None)
        page.on("request", lambda request: None if request.url.startswith(origin) else faults.append(request.url))
        page.on("filechooser", lambda chooser: None)  # so that choosers are caught from the beginning
        page.goto(origin)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a photo of people whose masks are in these states."""

    def photo(*states: str) -> Path:
        file = tmp_path / f"{'-'.join(states) or 'nobody'}.jpg"
        file.write_bytes(jpeg(door(*states)))
        return file

    return photo
