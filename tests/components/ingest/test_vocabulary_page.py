"""docs/data.md lists the vocabulary as it is."""

from pathlib import Path

import pytest

from components.shared.dataset.vocabulary import COLUMNS, VOCABULARY

PAGE = Path(__file__).parents[3] / "docs" / "data.md"


def code(words):
    return ", ".join(f"`{word}`" for word in words)


def columns():
    return ["| role | names |", "|---|---|", *(f"| {role} | {code(names)} |" for role, names in COLUMNS.items())]


def values():
    rows = [
        f"| {attribute} | `{value}` | {code(word for word in words if word != value)} |"
        for attribute, known in VOCABULARY.items()
        for value, words in known.items()
    ]
    return ["| attribute | value | is also written |", "|---|---|---|", *rows]


@pytest.mark.parametrize(("title", "lines"), [("Columns", columns()), ("Values", values())])
def test_the_page_lists_the_vocabulary(title, lines):
    begin = f"<!-- {title}: from components/shared/dataset/vocabulary.py -->\n"
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    listed, end, _ = rest.partition(f"<!-- end of {title.lower()} -->")
    assert end and listed.strip().splitlines() == lines
