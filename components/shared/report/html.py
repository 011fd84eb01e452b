"""Building blocks of a self-contained HTML report: no scripts, no files from elsewhere, light and dark."""

from collections.abc import Iterable, Sequence
from html import escape

TONES = ("tone-a", "tone-b", "tone-c", "tone-d")
"""Colors that tell apart the parts of a bar."""

_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1d2327; --soft: #667078; --line: #e2e5e7;
  --hit: #2b6ca8; --miss: #c8602a; --good: #23744a; --bad: #b3302a; --bad-ground: #fbeceb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181b; --card: #1b2024; --ink: #e4e8ea; --soft: #949fa7; --line: #30373c;
    --hit: #5a9fdc; --miss: #e08a55; --good: #63bd8d; --bad: #ef7d75; --bad-ground: #3a2021;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1.25rem 3rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 62rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.6rem; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 .75rem; font-size: 1.05rem; font-weight: 600; }
p { margin: .25rem 0 .75rem; }
.soft { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
.verdict { margin: .35rem 0 1.25rem; font-weight: 500; }
section {
  margin-top: 1.25rem; padding: 1.1rem 1.25rem 1.25rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; overflow-x: auto; min-width: 0;
}
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 0 1.25rem; }
.notice {
  margin: 1.25rem 0; padding: .8rem 1.1rem; border: 1px solid var(--bad); border-left-width: 5px;
  border-radius: 8px; background: var(--bad-ground);
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; }
.tile { padding: .8rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.tile .name { font-size: .82rem; color: var(--soft); }
.tile .value { font-size: 1.65rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile .note { font-size: .8rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.data { width: 100%; }
.data th { font-weight: 500; color: var(--soft); text-align: right; vertical-align: bottom; }
.data td { text-align: right; }
.data th, .data td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
.data tr:last-child td { border-bottom: 0; }
.data .text { text-align: left; white-space: normal; overflow-wrap: break-word; }
.bar {
  display: inline-block; width: 5rem; height: .5rem; margin-left: .6rem; background: var(--line); border-radius: 3px;
}
.bar > i { display: block; height: 100%; background: var(--hit); border-radius: 3px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.confusion { border-spacing: 2px; border-collapse: separate; font-size: .8rem; }
.confusion th { font-weight: 400; }
.confusion .row { text-align: right; padding-right: .5rem; white-space: nowrap; }
.confusion .column { vertical-align: bottom; padding-bottom: .4rem; }
.confusion .column span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.confusion .flat span { writing-mode: horizontal-tb; transform: none; }
.confusion td {
  height: 2.1rem; min-width: 2.35rem; padding: 0 .2rem; text-align: center; line-height: 1.15; border-radius: 3px;
  background: color-mix(in srgb, var(--tone) calc(8% + 80% * var(--share)), var(--card));
}
.confusion td.none { background: color-mix(in srgb, var(--line) 35%, var(--card)); color: var(--soft); }
.confusion td.full { color: var(--card); }
.confusion td.total { background: none; color: var(--soft); text-align: right; padding-left: .6rem; }
.confusion .wide td { height: 3.6rem; min-width: 6rem; font-size: .95rem; }
.confusion small { display: block; font-size: .72rem; opacity: .85; }
.confusion .hit { --tone: var(--hit); } .confusion .miss { --tone: var(--miss); }
.bar.long { width: 9rem; white-space: nowrap; font-size: 0; overflow: hidden; text-align: left; }
.bar.long > i { display: inline-block; border-radius: 0; }
.key { display: inline-block; width: .7rem; height: .7rem; margin: 0 .35rem 0 .9rem; border-radius: 3px; }
.key:first-child { margin-left: 0; }
.tone-a { background: var(--hit) !important; } .tone-b { background: var(--miss) !important; }
.tone-c { background: var(--good) !important; } .tone-d { background: var(--soft) !important; }
.shots { display: flex; flex-wrap: wrap; gap: .6rem; margin: .4rem 0 .9rem; }
.shot { width: 6.7rem; margin: 0; font-size: .75rem; line-height: 1.3; color: var(--soft); overflow-wrap: anywhere; }
.shot img, .shot .none {
  display: block; width: 6.7rem; height: 6.7rem; object-fit: contain; margin-bottom: .25rem; border-radius: 5px;
  background: color-mix(in srgb, var(--line) 45%, var(--card));
}
.shot .none { padding: 2.4rem .4rem 0; text-align: center; }
.groups { display: flex; flex-wrap: wrap; gap: 0 2rem; }
h3 { margin: .6rem 0 .3rem; font-size: .92rem; font-weight: 600; }
svg { display: block; width: 100%; max-width: 27rem; height: auto; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
svg .axis { stroke: var(--line); } svg .ideal { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .bin { fill: var(--hit); fill-opacity: .75; } svg .count { fill: var(--soft); fill-opacity: .45; }
svg .cell { fill: var(--hit); }
svg .gap { stroke: var(--miss); stroke-width: 2; } svg .mark { fill: var(--miss); }
"""


def page(title: str, body: str) -> str:
    """A whole document. `title` is text, `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A titled card around HTML."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def notice(title: str, text: str) -> str:
    """A warning that cannot be overlooked; both arguments are text."""
    return f'<div class="notice" role="alert"><strong class="bad">{escape(title)}</strong><br>{escape(text)}</div>'


def tile(name: str, value: str, note: str = "", tone: str = "soft") -> str:
    """One figure with its name and a note in the tone `soft`, `good` or `bad`; all arguments are text."""
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div>'
        f'<div class="note {tone}">{escape(note) or "&nbsp;"}</div></div>'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A table. Cells are HTML, the first `text_columns` columns are set left, the others right."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="text">{cell}</{tag}>' if at < text_columns else f"<{tag}>{cell}</{tag}>"
            for at, cell in enumerate(row)
        )

    lines = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<table class="data"><thead><tr>{cells(header, "th")}</tr></thead>\n<tbody>{lines}</tbody></table>'


def definitions(items: Iterable[tuple[str, str]]) -> str:
    """Names and values, both text; an empty value is left out."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items if v) + "</dl>"


def bar(share: float) -> str:
    """A small horizontal bar for a share in 0..1."""
    return f'<span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'


def parts_bar(parts: Iterable[tuple[str, float]]) -> str:
    """A horizontal bar of several parts: (one of TONES, share of the whole bar in 0..1)."""
    pieces = "".join(f'<i class="{tone}" style="width:{100 * share:.2f}%"></i>' for tone, share in parts if share > 0)
    return f'<span class="bar long">{pieces}</span>'


def key(names: Iterable[tuple[str, str]]) -> str:
    """Say what the colors mean: (one of TONES, its name as text)."""
    entries = "".join(f'<span class="key {tone}"></span>{escape(name)}' for tone, name in names)
    return f'<p class="soft">{entries}</p>'


def shot(uri: str | None, name: str, caption: str) -> str:
    """A small picture with its name (text) and a caption (text); without an address it says that none is shown.

    A line of the caption is broken after a slash or an underscore first.
    """
    broken = escape(caption).replace("/", "/<wbr>").replace("_", "_<wbr>").replace("\n", "<br>")
    picture = (
        f'<img src="{escape(uri)}" alt="{escape(name)}" title="{escape(name)}">'
        if uri
        else f'<span class="none" title="{escape(name)}">not shown</span>'
    )
    return f'<figure class="shot">{picture}<figcaption>{broken}</figcaption></figure>'


def shots(pictures: Iterable[str]) -> str:
    """Small pictures side by side."""
    return f'<div class="shots">{"".join(pictures)}</div>'


def shown(name: object, limit: int = 80) -> str:
    """Any value as text for a page: invisible characters are spelled out, a long text is cut in its middle."""
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(name)
    )
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"
