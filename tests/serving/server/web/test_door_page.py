"""The door page in headless Chromium, against real servers."""

import base64
import hashlib
import io
import itertools
import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door_pictures import EMOTIONS, door, jpeg
from heic_pictures import heic
from PIL import ExifTags, Image
from playwright.sync_api import Page, Request, expect
from server_process import Server, serving
from stub_server import running, until

from serving.server.repository.models import ModelRepository
from serving.server.repository.source import SingleModel

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
MakePhoto = Callable[..., Path]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def choose(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a photo").click()
    chosen.value.set_files(file)


def verdict(page: Page) -> Any:
    return expect(page.locator("#verdict-text"))


def notice(page: Page) -> Any:
    return expect(page.get_by_role("status"))


def loudest(page: Page) -> float:
    """The loudest sample so far of what goes to the speakers, 0 to 1."""
    return float(page.evaluate("window.loudest"))


def wait_for_sound(page: Page) -> None:
    deadline = time.monotonic() + 10
    while loudest(page) < 0.1:
        assert time.monotonic() < deadline, "nothing was heard"
        page.wait_for_timeout(20)


def ask(page: Page) -> list[Request]:
    """The questions about pictures that a page sends from now on."""
    asked: list[Request] = []
    page.on("request", lambda request: "/predict" in request.url and asked.append(request))
    return asked


def test_a_photo_is_shown_with_faces_labels_and_a_notice(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    file = photo("worn", "absent", "incorrect")
    answer = server.request("POST", "/predict", file.read_bytes())[1]
    faces = sorted(answer["faces"], key=lambda face: face["box"][0])
    assert [face.get("notify_reason") for face in faces] == [None, "absent", "incorrect"]

    page = open_page(server.port)
    verdict(page).to_have_text("Nothing to see yet")
    choose(page, file)
    verdict(page).to_have_text("2 of 3 without a properly worn mask")
    reasons = {"absent": "no mask", "incorrect": "worn wrongly"}
    lines = [
        f"Face {number}: {face['notify_confidence']:.1%} ({reasons[face['notify_reason']]})"
        for number, face in enumerate(faces[1:], 2)
    ]
    detail = page.locator("#verdict-detail").inner_text()
    assert detail.splitlines() == ["Not worn as it should be:", *lines]
    expect(page.locator("#facts")).to_have_text(
        re.compile(rf"people · version {answer['version']} · answer after \d+\sms")
    )
    expect(page.get_by_role("radio", name="Face 2: no mask")).to_be_checked()

    page.get_by_role("radio", name="Face 1").check()
    for section, name in zip(page.locator(".head").all(), ("mask", "emotion"), strict=True):
        shares = sorted(faces[0]["heads"][name]["probabilities"].items(), key=lambda item: -item[1])[:5]
        assert section.locator("h2").inner_text() == name
        assert section.locator(".label").all_inner_texts() == [label for label, _ in shares]
        assert section.locator(".value").all_inner_texts() == [f"{share:.1%}" for _, share in shares]
    assert len(EMOTIONS) > 5


def pixels(page: Page, canvas: str) -> Any:
    """The content of a canvas, uint8 (height, width, 4)."""
    data = page.evaluate("id => document.getElementById(id).toDataURL().split(',')[1]", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


@pytest.mark.parametrize("turned", [False, True])
def test_box_and_crop_are_the_faces_own(server: Server, open_page: OpenPage, tmp_path: Path, turned: bool) -> None:
    """Also where the photo lies on its side and says so."""
    upright = door("worn", "absent")
    file, exif = tmp_path / "door.jpg", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if turned else 1
    stored = upright.transpose(Image.Transpose.ROTATE_90) if turned else upright
    file.write_bytes(jpeg(stored, exif=exif))
    boxes = [face["box"] for face in server.request("POST", "/predict", file.read_bytes())[1]["faces"]]

    page = open_page(server.port)
    choose(page, file)
    verdict(page).to_have_text("1 of 2 without a properly worn mask")
    left, top, width, height = max(boxes)
    crop = pixels(page, "crop")[..., :3]
    part = upright.crop((round(left), round(top), round(left + width), round(top + height)))
    wanted = np.asarray(part.resize((crop.shape[1], crop.shape[0]), Image.Resampling.BILINEAR))
    assert np.abs(crop.astype(int) - wanted).mean() < 6
    # Along the frame's left edge the line of the selected face is bright and dark in turn.
    overlay = pixels(page, "overlay")
    scale = min(overlay.shape[1] / upright.width, overlay.shape[0] / upright.height)
    across, down = (overlay.shape[1] - scale * upright.width) / 2, (overlay.shape[0] - scale * upright.height) / 2
    line = overlay[round(down + scale * top) : round(down + scale * (top + height)), round(across + scale * left), :3]
    assert line.min() < 60 and (line[:, 0] > 240).mean() > 0.4


def test_a_photo_that_the_browser_cannot_read_is_answered(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "door.heic"
    file.write_bytes(heic(door("absent")))
    page = open_page(server.port)
    choose(page, file)
    verdict(page).to_have_text("No mask")
    notice(page).to_contain_text("This browser cannot show this kind of picture")
    expect(page.locator("#crop")).to_be_hidden()
    expect(page.locator(".head")).to_have_count(2)


def test_no_face_is_said_in_plain_words(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    choose(page, photo())
    verdict(page).to_have_text("No face found")
    expect(page.locator("#face")).to_be_hidden()


def test_a_photo_can_be_dropped(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    data = list(photo("worn").read_bytes())
    transfer = page.evaluate_handle(
        "data => { const drop = new DataTransfer();"
        "drop.items.add(new File([new Uint8Array(data)], 'door.jpg', {type: 'image/jpeg'})); return drop; }",
        data,
    )
    page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})
    verdict(page).to_have_text("Mask worn properly")
    # A wrong drop says so and sends nothing.
    asked = ask(page)
    transfer = page.evaluate_handle(
        "() => { const drop = new DataTransfer();"
        "drop.items.add(new File(['x'], 'notes.txt', {type: 'text/plain'})); return drop; }"
    )
    page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})
    notice(page).to_contain_text("“notes.txt” is not a picture")
    assert not asked


def test_everything_works_by_keyboard(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    expect(page.get_by_label("Model")).to_be_visible()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.lang"))
    assert reached == ["model", "sound", "en", "ko", "start", "choose"]
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files(photo("absent", "worn", "incorrect"))
    verdict(page).to_contain_text("2 of 3")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Face 1: no mask")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Face 2")).to_be_checked()
    expect(page.locator("#crop-caption")).to_contain_text("Face 2")


def test_the_camera_shows_what_comes_and_goes(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.port)
    asked = ask(page)
    pending = most = 0

    def count(request: Request, change: int) -> None:
        nonlocal pending, most
        if "/predict" in request.url:
            pending += change
            most = max(most, pending)

    page.on("request", lambda request: count(request, 1))
    page.on("requestfinished", lambda request: count(request, -1))
    page.evaluate(
        """() => {
          const text = document.getElementById("verdict-text");
          window.seen = [];
          const see = () => window.seen.push([text.textContent, text.parentElement.dataset.kind, window.loudest]);
          new MutationObserver(see).observe(text, {childList: true, characterData: true, subtree: true});
        }"""
    )
    page.get_by_role("button", name="Start camera").click()
    kinds = {
        "No face found": "none",
        "Mask worn properly": "worn",
        "No mask": "notify",
        "1 of 2 without a properly worn mask": "notify",
    }
    deadline = time.monotonic() + 20
    while not kinds.items() <= {text: kind for text, kind, _ in page.evaluate("window.seen")}.items():
        assert time.monotonic() < deadline, page.evaluate("window.seen")
        page.wait_for_timeout(50)
    wait_for_sound(page)
    before = itertools.takewhile(lambda item: item[1] != "notify", page.evaluate("window.seen"))
    assert {heard for _, _, heard in before} == {0}
    # The page shows a mirror: the face that the camera has on its right is the first.
    page.get_by_role("radio", name="Face 1: worn wrongly").wait_for()
    page.get_by_text("pictures a second").wait_for()

    page.get_by_role("button", name="Stop camera").click()
    verdict(page).to_have_text("Nothing to see yet")
    sent = len(asked)
    page.wait_for_timeout(300)
    assert len(asked) == sent > 5 and most == 1
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_silence_is_a_choice_that_stays(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    page.get_by_role("button", name="Sound: on").click()
    page.reload()
    expect(page.get_by_role("button", name="Sound: off")).to_be_visible()
    choose(page, photo("absent"))
    verdict(page).to_have_text("No mask")
    page.wait_for_timeout(200)
    assert loudest(page) == 0
    page.get_by_role("button", name="Sound: off").click()  # lets hear what there will be
    wait_for_sound(page)


def test_a_hidden_page_lets_go_of_the_camera_and_goes_on(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.port)
    asked = ask(page)
    page.get_by_role("button", name="Start camera").click()
    verdict(page).not_to_have_text("Nothing to see yet")
    # Headless tabs are never hidden; the page is told so.
    page.evaluate(
        "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange')); }",
        True,
    )
    notice(page).to_contain_text("Paused while this page is hidden")
    page.wait_for_timeout(100)
    sent = len(asked)
    page.wait_for_timeout(300)
    assert len(asked) == sent
    assert page.evaluate("document.getElementById('video').srcObject") is None
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("button", name="Stop camera")).to_be_visible()
    verdict(page).not_to_have_text("Nothing to see yet")
    assert len(asked) > sent


def test_a_slow_server_is_never_asked_twice_at_once(open_page: OpenPage) -> None:
    """Frames are small JPEGs, and the next is taken when the answer is there."""
    lock, busy, most, frames = threading.Lock(), 0, 0, []

    def act(data: bytes, work: Any) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            frames.append(data)
        time.sleep(0.15)
        with lock:
            busy -= 1

    with running(act, lanes=4) as server:
        page = open_page(server.port)
        page.get_by_role("button", name="Start camera").click()
        verdict(page).to_have_text("No face found")
        page.wait_for_timeout(700)
        page.get_by_role("button", name="Stop camera").click()
    assert most == 1 and len(frames) >= 3
    assert {(Image.open(io.BytesIO(data)).format, Image.open(io.BytesIO(data)).size) for data in frames} == {
        ("JPEG", (640, 480))
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"permissions": []}, "The camera was refused"),
        ({"host": "door.test"}, "no camera to a page over plain http"),
    ],
)
def test_a_camera_that_is_not_to_be_had(
    server: Server, open_page: OpenPage, photo: MakePhoto, options: dict[str, Any], sentence: str
) -> None:
    page = open_page(server.port, **options)
    page.get_by_role("button", name="Start camera").click()
    notice(page).to_contain_text(sentence)
    choose(page, photo("worn"))
    verdict(page).to_have_text("Mask worn properly")
    notice(page).to_have_count(0)


def test_a_key_is_asked_for_and_kept_in_the_tab(
    open_page: OpenPage, photo: MakePhoto, model_file: Path, tmp_path: Path
) -> None:
    key = "a-key-for-the-door-0123456789"
    keys = tmp_path / "keys"
    keys.write_text(f"door:{hashlib.sha256(key.encode()).hexdigest()}\n")
    with serving(tmp_path, "--model", str(model_file), "--api-keys", str(keys)) as server:
        page = open_page(server.port)
        notice(page).to_contain_text("This server wants an API key")
        expect(page.get_by_label("API key")).to_be_focused()
        choose(page, photo("worn"))
        notice(page).to_contain_text("This server wants an API key")
        for given, sentence in (("no key", "without spaces"), ("another", "does not know this key")):
            page.get_by_label("API key").fill(given)
            page.keyboard.press("Enter")
            notice(page).to_contain_text(sentence)
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use key").click()
        verdict(page).not_to_have_text("No answer yet")
        expect(page.locator("#facts")).to_contain_text("tiny · version")
        expect(page.get_by_label("API key")).to_be_hidden()
        stored = page.evaluate("JSON.stringify([Object.values(sessionStorage), Object.values(localStorage)])")
        assert json.loads(stored) == [[key], []] and key not in page.content()
        page.reload()
        notice(page).to_have_count(0)
        choose(page, photo("worn"))
        expect(page.locator("#facts")).to_contain_text("tiny · version")


def test_a_busy_server_is_waited_for(open_page: OpenPage, photo: MakePhoto) -> None:
    """One lane is at work and nothing may wait, so the server refuses until that work is done."""
    done = threading.Event()
    with running(lambda data, work: data == b"slow" and done.wait(20), lanes=1, max_waiting=1) as server:
        page = open_page(server.port)
        others = [threading.Thread(target=server.request, args=("POST", "/predict", b"slow")) for _ in range(2)]
        for other in others:
            other.start()
        until(lambda: server.state.lanes.busy)
        choose(page, photo("worn"))
        notice(page).to_contain_text(re.compile(r"The server is busy\. Trying again in \d+ s"))
        verdict(page).to_have_text("No answer yet")
        done.set()
        verdict(page).to_have_text("No face found")
        for other in others:
            other.join()


def test_a_server_that_is_loading_is_waited_for(open_page: OpenPage) -> None:
    with running() as server:
        ready = server.state.models
        server.state.models = ModelRepository(sources=[SingleModel("never looked at")])
        page = open_page(server.port)
        notice(page).to_contain_text("The server is not ready yet")
        server.state.models = ready
        notice(page).to_have_count(0)


def test_a_server_that_is_gone_is_said_and_can_be_asked_again(open_page: OpenPage, photo: MakePhoto) -> None:
    with running() as server:
        page = open_page(server.port)
        page.context.set_offline(True)
        choose(page, photo("worn"))
        notice(page).to_contain_text("The server does not answer")
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        verdict(page).to_have_text("No face found")


def test_the_servers_own_words_about_a_wrong_picture_are_shown(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(jpeg(door("worn"))[:300])
    page = open_page(server.port)
    choose(page, file)
    notice(page).to_contain_text("The server did not take this picture")
    said = server.request("POST", "/predict", file.read_bytes())[1]["error"]
    notice(page).to_contain_text(said)


def test_a_photo_above_the_servers_limit_is_sent_smaller(open_page: OpenPage, tmp_path: Path) -> None:
    sizes: list[tuple[int, int]] = []
    noise = np.random.default_rng(0).integers(0, 256, (225, 300, 3), np.uint8)
    file = tmp_path / "large.jpg"
    file.write_bytes(jpeg(Image.fromarray(noise).resize((2400, 1800), Image.Resampling.BICUBIC)))
    limit = 2**20
    assert limit < file.stat().st_size
    with running(lambda data, work: sizes.append(Image.open(io.BytesIO(data)).size), max_body=limit) as server:
        page = open_page(server.port)
        choose(page, file)
        verdict(page).to_have_text("No face found")
        ((width, height),) = sizes
        expect(page.locator("#facts")).to_contain_text(f"sent as {width} × {height}")
    assert (width, height) in ((2048, 1536), (1024, 768))


def test_another_model_is_asked_about_the_same_photo(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    choose(page, photo("worn", "absent"))
    verdict(page).to_contain_text("1 of 2")
    page.get_by_label("Model").select_option("green")
    verdict(page).to_have_text("2 faces found")
    expect(page.locator("#heads")).to_have_text("This model finds faces and says nothing more about them.")
    expect(page.locator("#facts")).to_contain_text("green · version")


def test_of_a_repository_of_several_models_the_one_that_is_shown_is_asked(
    open_page: OpenPage, photo: MakePhoto, model_file: Path, tmp_path: Path
) -> None:
    for name in ("age", "mask"):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        shutil.copyfile(model_file, tmp_path / "models" / name / "1" / "model.onnx")
    with serving(tmp_path, "--repository", str(tmp_path / "models")) as server:
        until(lambda: server.request("GET", "/v2/models")[1]["models"] == ["age", "mask"])
        page = open_page(server.port)
        expect(page.get_by_label("Model")).to_have_value("age")
        choose(page, photo("worn"))
        expect(page.locator("#facts")).to_contain_text("age · version 1")
        page.get_by_label("Model").select_option("mask")
        expect(page.locator("#facts")).to_contain_text("mask · version 1")


def test_joint_labels_have_the_sums_that_the_verdict_is_about(
    server: Server, open_page: OpenPage, photo: MakePhoto
) -> None:
    """Lines of labels end behind a slash, and not within a word."""
    file = photo("absent")
    (face,) = server.request("POST", "/predict?model=joint", file.read_bytes())[1]["faces"]
    shares = face["heads"]["mask_gender_age"]["probabilities"]
    sums = {
        state: sum(share for label, share in shares.items() if label.startswith(f"{state}/"))
        for state in ("worn", "incorrect", "absent")
    }
    assert sums["incorrect"] + sums["absent"] == pytest.approx(face["notify_confidence"])
    page = open_page(server.port, viewport={"width": 900, "height": 800})
    page.get_by_label("Model").select_option("joint")
    choose(page, file)
    expect(page.locator(".head")).to_have_count(2)
    assert page.locator(".head h2").all_inner_texts() == ["mask", "mask_gender_age"]
    best = sorted(sums, key=lambda state: -sums[state])
    masks = page.locator(".head").first
    assert masks.locator(".label").all_inner_texts() == best
    assert masks.locator(".value").all_inner_texts() == [f"{sums[state]:.1%}" for state in best]
    ends = page.evaluate(
        """() => [...document.querySelectorAll(".label")].flatMap((label) => {
          const range = new Range(), ends = [];
          let last = null;
          const texts = document.createTreeWalker(label, NodeFilter.SHOW_TEXT);
          for (let text; (text = texts.nextNode()); ) for (let at = 0; at < text.length; at++) {
            range.setStart(text, at);
            range.setEnd(text, at + 1);
            const top = range.getBoundingClientRect().top;
            if (last && top > last.top + 5) ends.push(last.letter);
            last = { top, letter: text.data[at] };
          }
          return ends;
        })"""
    )
    assert ends and set(ends) == {"/"}


def test_a_tag_hides_no_other_face(server: Server, open_page: OpenPage) -> None:
    """Faces stand above, below and beside each other, so that there is no room for any tag but in its own box."""
    page = open_page(server.port)
    painted = page.evaluate(
        """async () => {
          const { draw } = await import("/static/drawing.js");
          const canvas = document.getElementById("overlay");
          document.getElementById("stage").style.aspectRatio = 4 / 3;
          const faces = [];
          for (let row = 0; row < 4; row++) for (let column = 0; column < 4; column++) {
            const number = faces.length + 1;
            const box = [column * 160 + 5, row * 120 + 5, 150, 110];
            faces.push({ box, tag: `! ${number} · worn wrongly and more`, shortTag: `! ${number}`, notify: true });
          }
          draw(canvas, { picture: null, width: 640, height: 480, mirrored: false, faces, selected: 5 });
          const scale = canvas.width / 640;
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const count = ([left, top, width, height]) => {
            let painted = 0;
            for (let y = top; y < top + height; y++)
              for (let x = left; x < left + width; x++) painted += all.data[4 * (y * all.width + x) + 3] > 0;
            return painted;
          };
          // What is painted of the insides of the boxes, without their lines and their own upper left corners.
          return faces.map(({ box: [x, y, width, height] }) => {
            const part = [[x + 60, y + 6, width - 66, height - 12], [x + 6, y + 40, width - 12, height - 46]];
            const counts = part.map((one) => count(one.map((value) => Math.round(value * scale))));
            return counts[0] + counts[1];
          });
        }"""
    )
    assert painted == [0] * 16


def test_a_photo_that_takes_long_to_open_is_said(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port)
    page.evaluate(
        """() => {
          const open = window.createImageBitmap;
          const opened = new Promise((resolve) => { window.go = resolve; });
          window.createImageBitmap = async (...what) => { await opened; return open(...what); };
        }"""
    )
    choose(page, photo("worn"))
    notice(page).to_contain_text("Opening the picture")
    verdict(page).to_have_text("No answer yet")
    page.evaluate("window.go()")
    verdict(page).to_have_text("Mask worn properly")


def test_korean_is_spoken_where_the_browser_does(server: Server, open_page: OpenPage, photo: MakePhoto) -> None:
    page = open_page(server.port, locale="ko-KR")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.get_by_role("button", name="카메라 켜기")).to_be_visible()
    page.set_input_files("#file", photo("absent"))
    verdict(page).to_have_text("마스크를 쓰지 않았습니다")
    expect(page.locator(".head h2").first).to_have_text("마스크")
    english = re.compile(r"[A-Za-z]{3,}")
    texts = page.locator("main [data-word], footer [data-word], #verdict").all_inner_texts()
    assert len(texts) > 5 and not [text for text in texts if english.search(text.replace("API", ""))]
    page.get_by_role("button", name="English").click()
    verdict(page).to_have_text("No mask")
    page.reload()
    expect(page.get_by_role("button", name="Start camera")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_without_scrolling_sideways(
    server: Server, open_page: OpenPage, photo: MakePhoto, scheme: str
) -> None:
    page = open_page(server.port, **PHONE, color_scheme=scheme)
    choose(page, photo("worn", "absent", "incorrect"))
    verdict(page).to_contain_text("2 of 3")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for button in page.locator("main").get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 44
    # Picture and verdict are on the first screen.
    box = page.locator("#verdict-text").bounding_box()
    assert box and box["y"] + box["height"] < PHONE["viewport"]["height"]  # type: ignore[index]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(245, 245, 243)"
    assert dark == (scheme == "dark")
