"""Hostile names are escaped, and the page of a large data set stays small."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from report_pages import MASKS, content, image, jpeg, report, write

from components.shared.dataset.label_spaces import label_space

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "</style><style>*{display:none}",
    "a&lt;b&amp;",
    "\u202egpj.exe\x00\x1b[31m\r\n",
    "x" * 5000,
    "가나다" * 100,
)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    images = []
    for number, bad in enumerate(HOSTILE, start=1):
        attributes = {"label": bad, bad[:50]: bad, "mask": "worn", "votes": [bad, "sad"], "emotion": bad}
        name = f"{bad[:150].replace(chr(0), '').encode('utf-8', 'replace').decode()}.jpg".replace("..", "")
        images.append(image(number, person=bad, file_name=name, attributes=attributes))
        images.append(image(50 + number, "val", person=bad, sha256=content(number)))
    info = {
        "source": HOSTILE[0],
        "format": HOSTILE[1],
        "dropped": dict.fromkeys(HOSTILE, 1),
        "dropped_examples": {bad: list(HOSTILE) for bad in HOSTILE},
        "curation": [{"operation": HOSTILE[0], "options": {HOSTILE[1]: HOSTILE[2]}, "counts": {HOSTILE[0]: 1}}],
    }
    write(tmp_path, images, info)
    _, page = report(tmp_path)
    source = (tmp_path / "report").read_text(encoding="utf-8")
    assert "<script" not in source and "<img src=x" not in source and source.count("</style>") == 1
    assert "Data report: <script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", source)
    assert "\\u202egpj.exe" in unescape(source)


@pytest.mark.parametrize("space", ["mask", "label:" + ",".join(f"{'class ' * 8}{i}" for i in range(400))])
def test_the_page_stays_small(space: str, tmp_path: Path) -> None:
    """5,000 images with long names, every one another size and class, all in duplicate groups across splits."""
    labels = label_space(space).class_labels
    rng = np.random.default_rng(0)
    picture = jpeg(400, 300)
    images = []
    for number in range(1, 5001):
        name = f"{'folder-' * 25}{number % 50}/{'name with words ' * 8}{number}.jpg"
        fields = {"person": f"{'person ' * 20}{number % 700}", "sha256": content(number // 4, picture)}
        attributes = {
            "mask": MASKS[number % 3],
            "label": labels[number % len(labels)],
            "note": f"{'text ' * 30}{number}",
            "votes": [f"{'vote ' * 20}{rng.integers(90)}" for _ in range(3)],
            "emotion": f"{'vote ' * 20}{number % 90}",
        }
        box = (1.0, 2.0, float(rng.integers(5, 299)), float(rng.integers(5, 398)))
        images.append(
            image(number, ("train", "val", "test")[number % 3], file_name=name, width=300, height=400, box=box,
                  attributes=attributes, **fields)
        )  # fmt: skip
    info = {
        "dropped": {f"{'reason ' * 30}{i}": i for i in range(500)},
        "dropped_examples": {f"{'reason ' * 30}{i}": ["n" * 500] * 20 for i in range(500)},
        "curation": [{"operation": "drop", "counts": {"c" * 300: 3}, "options": {"o" * 4000: 1}}] * 200,
    }
    write(tmp_path, images, info)
    figures, page = report(tmp_path, space)
    assert figures["duplicates_across_splits"] > 1000 and len(page.sources) >= 64
