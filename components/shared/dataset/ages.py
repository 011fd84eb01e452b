"""Ages as people write them: years, decades and ranges."""

import re

OLDEST = 150

_UNIT = r"\s*(?:years?(?:\s*old)?|yrs?|y/?o|y|세|살|歳|才|岁|歲)?"
_YEARS = re.compile(rf"(?:만\s*)?(\d{{1,3}}(?:\.0*)?){_UNIT}")
_DECADE = re.compile(r"(\d{1,2}0)\s*(?:대|代|'?s)")
_RANGE = re.compile(rf"([(\[]?)\s*(\d{{1,3}}){_UNIT}\s*(-|–|—|~|〜|～|to|,)\s*(\d{{1,3}}){_UNIT}\s*([)\]]?)")
_FROM = re.compile(
    rf"(?:(?P<least>>=|≥|at least|from)|(?P<more>>|more than|over|above|older than))\s*(?P<after>\d{{1,3}}){_UNIT}"
    rf"|(?P<before>\d{{1,3}}){_UNIT}\s*(?:\+|plus|이상|以上|(?:and|or) (?:over|above|older|more|up)|(?P<beyond>초과))"
)
_UP_TO = re.compile(
    rf"(?:(?P<most><=|≤|at most|up to)|(?P<less><|less than|under|below|younger than))\s*(?P<after>\d{{1,3}}){_UNIT}"
    rf"|(?P<before>\d{{1,3}}){_UNIT}\s*(?:이하|以下|(?:and|or) (?:under|below|younger|less)|(?P<short>미만|未満))"
)
_TEENS = ("teen", "teens", "teenager", "십대")


def age_span(text: str) -> tuple[int, int] | None:
    """Return the first and the last age in whole years that a text says, None when it says none.

    `31` and `31세` are one age, `20s` and `20대` a decade, `20-29`, `(25, 32)` and `[20, 30)` ranges, and `60+`,
    `more than 60`, `30 미만` ranges from 0 on or up to OLDEST.
    """
    text = text.strip().lower()
    if text in _TEENS:
        return 13, 19
    for read in (_years, _range, _open):
        span = read(text)
        if span is not None:
            return span if 0 <= span[0] <= span[1] <= OLDEST else None
    return None


def _years(text: str) -> tuple[int, int] | None:
    if match := _YEARS.fullmatch(text):
        return int(float(match[1])), int(float(match[1]))
    if match := _DECADE.fullmatch(text):
        return int(match[1]), int(match[1]) + 9
    return None


def _range(text: str) -> tuple[int, int] | None:
    """Read `20-29`. Of two different brackets the round one leaves its number out, as in `[20, 30)`."""
    match = _RANGE.fullmatch(text)
    if match is None or bool(match[1]) != bool(match[5]) or (match[3] == "," and not match[1]):
        return None
    differ = (match[1], match[5]) in (("(", "]"), ("[", ")"))
    return int(match[2]) + (differ and match[1] == "("), int(match[4]) - (differ and match[5] == ")")


def _open(text: str) -> tuple[int, int] | None:
    if match := _FROM.fullmatch(text):
        return int(match["after"] or match["before"]) + bool(match["more"] or match["beyond"]), OLDEST
    if match := _UP_TO.fullmatch(text):
        return 0, int(match["after"] or match["before"]) - bool(match["less"] or match["short"])
    return None
