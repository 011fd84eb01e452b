"""The files of the door page: how they are sent, and what is in them."""

import json
import re
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from starlette.testclient import TestClient

from serving.server.web import routes

FOLDER = Path(routes.__file__).parent
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg"))
TEXTS = {name: (FOLDER / name).read_text("utf-8") for name in FILES}
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.mark.parametrize("path", ["", *(f"static/{name}" for name in FILES)])
def test_a_file_is_sent_with_its_type_and_headers_that_permit_nothing_else(client: TestClient, path: str) -> None:
    name = path.removeprefix("static/") or "index.html"
    given = client.get(f"/{path}")
    assert (given.status_code, given.text) == (200, TEXTS[name])
    assert given.headers["content-type"] == f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in given.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[source] for source in policy if source.endswith("-src")} == {"'none'", "'self'"}
    assert given.headers["x-content-type-options"] == "nosniff"
    assert "camera=(self)" in given.headers["permissions-policy"]

    head = client.head(f"/{path}")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(given.content)))
    for known in (given.headers["etag"], f'"other", W/{given.headers["etag"]}'):
        same = client.get(f"/{path}", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", given.headers["etag"])
    assert client.get(f"/{path}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["routes.py", "__init__.py", "..%2froutes.py", "%2fetc%2fpasswd", "main.js%00", "", "a/b"]
)
def test_nothing_but_the_files_of_the_page_is_sent(client: TestClient, name: str) -> None:
    given = client.get(f"/static/{name}")
    assert given.status_code == 404 and list(given.json()) == ["error"]


def test_other_methods_are_refused(client: TestClient) -> None:
    for path in ("/", "/static/main.js"):
        assert client.post(path).status_code == 405


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for name, text in TEXTS.items():
        addresses = set(re.findall(r"""(?:https?:)?//[\w.]+[^\s"')]*""", re.sub(r"^\s*//.*", "", text, flags=re.M)))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
    page = TEXTS["index.html"]
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", page)
    for reference in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert reference.removeprefix("static/") in FILES
    for name, text in TEXTS.items():
        for module in re.findall(r'from "\./([^"]+)"', text):
            assert module in FILES, f"{name} imports {module}"


def dictionary(name: str) -> dict[str, str]:
    """A language's words in words.js, where each is a line `key: "text",`."""
    (body,) = re.findall(rf"const {name} = \{{\n(.*?)\n\}};", TEXTS["words.js"], re.S)
    lines = [line for part in body.splitlines() for line in re.findall(r'(\w+): ("(?:[^"\\]|\\.)*")', part)]
    assert len(lines) == body.count('": "') + body.count(': "')
    return {key: json.loads(text) for key, text in lines}


def test_both_languages_say_everything_with_the_same_values() -> None:
    english, korean = dictionary("ENGLISH"), dictionary("KOREAN")
    assert list(english) == list(korean) and len(english) > 50
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", korean[key])), key
        assert re.search("[가-힣]", korean[key]) or not re.search("[A-Za-z]{3}", korean[key]), key
    code = "".join(text for name, text in TEXTS.items() if name != "words.js")
    asked = set(re.findall(r'data-(?:word|label)="(\w+)"', code)) | set(re.findall(r'word\("(\w+)"', code))
    assert asked <= set(english)
    assert not {key for key in english if not re.search(rf"\b{key}\b", code)}, "said nowhere"


def test_the_wheel_has_the_page() -> None:
    builder = WheelBuilder(str(FOLDER.parents[2]))
    packed = {file.distribution_path for file in builder.recurse_included_files()}
    assert {f"serving/server/web/{name}" for name in FILES} <= packed


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    colors: dict[str, str] = {}
    for block in re.findall(r":root \{(.*?)\}", TEXTS["style.css"], re.S)[: scheme + 1]:
        colors |= dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    pairs = [(text, ground) for text in ("ink", "quiet") for ground in ("ground", "surface")]
    for text, ground in [*pairs, ("on-accent", "accent"), ("on-alarm", "alarm")]:
        light, dark = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"
    for mark in ("edge", "good", "focus", "accent"):
        light, dark = sorted((luminance(colors[mark]), luminance(colors["surface"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, mark
