"""HTML reports from Jinja2 templates: a self-contained page without scripts, in light and dark colors.

A step keeps its template beside its code; the layout, the style sheet and the macros that all pages share are in this
folder.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_COMPONENTS = Path(__file__).parents[2]


def render(template: str, **context: object) -> str:
    """Return the page of a template, such as `search/leaderboard.html.jinja`; equal contexts give equal text.

    Every value of the context is escaped. A name that the context lacks raises jinja2.UndefinedError.
    """
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_COMPONENTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, "printable": printable, "breakable": _breakable}
    environment.globals |= {"percent": percent, "counted": counted, "zip": zip}
    return environment


def printable(value: object, limit: int = 80) -> str:
    """Return any value as text for a page: control characters are spelled out, a long text is cut in its middle."""
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(value)
    )
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def percent(part: float, whole: float) -> str:
    """Return the share as a percentage, and a dash when the whole is 0."""
    return f"{part / whole:.1%}" if whole else "–"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: 1 image, 2 images."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _breakable(text: str) -> Markup:
    """Escape a file name and let a line break after its slashes and underscores."""
    return Markup(escape(text).replace("/", Markup("/<wbr>")).replace("_", Markup("_<wbr>")))
