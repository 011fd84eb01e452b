"""The page `/docs`: what the server answers, written from the OpenAPI document, without a script or anything else."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from serving.server.http.routes import ENDPOINTS, Endpoint

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d5d9de, #3a4048); --quiet: light-dark(#59626d, #a4adb8);
  --field: light-dark(#f4f6f8, #1d2126); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; font-size: 1.2rem; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem .8rem; border-radius: .4rem; background: var(--field); }
details { border-top: 1px solid var(--line); } summary { padding: .6rem 0; cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 3.2rem; margin-right: .6rem; }
summary span { color: var(--quiet); margin-left: .6rem; } details > div { padding: 0 0 1rem 1rem; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style and nothing else."""


def page(document: dict[str, Any]) -> str:
    """Return the page as HTML."""
    title = escape(document["info"]["title"])
    tags = dict.fromkeys(endpoint.tag for endpoint in ENDPOINTS)
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>',
        f"<h1>{title} {escape(document['info']['version'])}</h1><p>{_text(document['info']['description'])} ",
        "In the commands, @BASE64 stands for a photo in base64. ",
        'The same for programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
    ]
    for tag in tags:
        parts.append(f"<h2>{escape(tag)}</h2>")
        for endpoint in ENDPOINTS:
            if endpoint.tag == tag:
                operation = document["paths"][endpoint.path][endpoint.method.lower()]
                parts += _endpoint(endpoint, operation)
    parts.append("<h2>Types</h2>")
    for name, schema in document["components"]["schemas"].items():
        # The address of what is inside opens it.
        parts.append(f"<details><summary><code>{name}</code></summary>")
        parts.append(f'<div id="{name}">{_schema(schema)}</div></details>')
    return "".join([*parts, "</body></html>"])


def _endpoint(endpoint: Endpoint, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{', '.join(endpoint.methods)}</b><code>{escape(endpoint.path)}</code>"
    yield f"<span>{_text(operation['summary'])}</span></summary><div>"
    for paragraph in filter(None, operation.get("description", "").split("\n\n")):
        yield f"<p>{_text(paragraph)}</p>"
    yield f"<pre>{escape(curl(endpoint))}</pre><table>"
    for parameter in operation["parameters"]:
        what = parameter.get("description", f"in the {parameter['in']}")
        yield f"<tr><th><code>{escape(parameter['name'])}</code></th><td>{_text(what)}</td></tr>"
    yield from _content("body", operation.get("requestBody", {}))
    for status, response in operation["responses"].items():
        if status in ("200", *map(str, endpoint.statuses)):
            yield from _content(status, response)
        else:
            yield f"<tr><th>{status}</th><td>{_text(response['description'])}</td></tr>"
    yield "</table></div></details>"


def curl(endpoint: Endpoint, address: str = "http://localhost:8080", model: str = "faces", version: str = "1") -> str:
    """Return a command that sends a request to an endpoint; `@BASE64` in it stands for a picture in base64."""
    path = endpoint.path.replace("{model}", model).replace("{version}", version)
    return f"curl {address}{path} {endpoint.example}".rstrip()


def _content(name: str, part: dict[str, Any]) -> Iterator[str]:
    kinds = [f"{escape(kind)}: {_type(one['schema'])}" for kind, one in part.get("content", {}).items()]
    if kinds:
        said = _text(part.get("description", ""))
        yield f"<tr><th>{escape(name)}</th><td>{said} {'<br>'.join(kinds)}</td></tr>"


def _schema(schema: dict[str, Any]) -> str:
    rows = [
        f"<tr><th><code>{escape(name)}</code></th><td>{_type(one)}</td></tr>"
        for name, one in schema.get("properties", {}).items()
    ]
    described = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    return described + (f"<table>{''.join(rows)}</table>" if rows else f"<p>{_type(schema)}</p>")


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON schema in few words."""
    match schema:
        case {"$ref": reference}:
            name = escape(reference.rpartition("/")[2])
            return f'<a href="#{name}"><code>{name}</code></a>'
        case {"anyOf": kinds} | {"oneOf": kinds}:
            return " or ".join(map(_type, kinds))
        case {"enum": values}:
            return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": "array", "prefixItems": items}:
            return f"list of {len(items)}: {_type(items[0])}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case {"type": "string", "format": "binary"}:
            return "bytes"
        case {"type": kind}:
            return escape(str(kind))
    return "anything"


def _text(text: str) -> str:
    """Escape a text; what stands between backquotes becomes code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
