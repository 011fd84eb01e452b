"""The OpenAPI document and the page about it: true to what the routes answer."""

import base64
import json
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_requests import picture
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.server.http.docs_page import POLICY
from serving.server.http.routes import ENDPOINTS, FORM, JSON, Endpoint

EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")


@pytest.fixture(scope="module")
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


def path_of(endpoint: Endpoint) -> str:
    return endpoint.path.replace("{model}", "tiny").replace("{version}", "3")


def check_described(document: Any, endpoint: Endpoint, response: Any) -> None:
    """The status is in the document, and the body follows its schema."""
    operation = document["paths"][endpoint.path][endpoint.method.lower()]
    described = operation["responses"].get(str(response.status_code))
    assert described is not None, f"{response.status_code} is not described: {response.text}"
    kind = response.headers["content-type"].partition(";")[0]
    schema = described["content"][kind]["schema"]
    if kind == JSON:
        whole = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **schema,
            "components": document["components"],
        }
        jsonschema.Draft202012Validator(whole).validate(response.json())


def test_it_is_an_openapi_document_of_every_route(document: Any, client: TestClient) -> None:
    assert document["openapi"] == "3.1.0" and document["info"]["title"] == "Facet"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (method, route.path)
        for route in client.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" and route.path not in ("/", "/docs", "/openapi.json", "/static/{file}")
    }
    assert described == served
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@EACH
def test_answers_follow_the_document(document: Any, client: TestClient, endpoint: Endpoint) -> None:
    if endpoint.method == "GET":
        response = client.get(path_of(endpoint))
        assert response.status_code == 200
        check_described(document, endpoint, response)
        return
    if "@BASE64" in endpoint.example:
        text = endpoint.example.partition(" -d '")[2].removesuffix("'")
        text = text.replace("@BASE64", base64.b64encode(picture()).decode())
        response = client.post(path_of(endpoint), content=text, headers={"Content-Type": JSON})
    elif FORM in (endpoint.body or {}):
        response = client.post(path_of(endpoint), content=picture())
        several = client.post(path_of(endpoint), files=[("a", picture(1)), ("b", picture(2))])
        assert several.status_code == 200
        check_described(document, endpoint, several)
    else:
        return  # repository: what it does is tested with a server process
    assert response.status_code == 200, response.text
    check_described(document, endpoint, response)


KEYS = [
    "image",
    "images",
    "b64",
    "data",
    "boxes",
    "instances",
    "inputs",
    "columns",
    "dataframe_split",
    "dataframe_records",
    "params",
    "name",
    "shape",
    "datatype",
    "parameters",
    "outputs",
    "id",
]
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1, 2**63),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.sampled_from(
            ["images", "UINT8", "BYTES", "mask", base64.b64encode(picture()).decode(), "http://127.0.0.1/"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "endpoint",
    [one for one in ENDPOINTS if one.method == "POST" and "version" not in one.path and "repository" not in one.path],
    ids=lambda endpoint: endpoint.path,
)
def test_any_json_is_answered_as_the_document_says(document: Any, client: TestClient, endpoint: Endpoint) -> None:
    names = {"/predict": ["image", "images"], "/invocations": ["inputs", "instances", "dataframe_split"]}
    keys = names.get(endpoint.path, ["inputs", "instances"])

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=st.one_of(VALUES, st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=1)))
    def send(body: Any) -> None:
        text = json.dumps(body).encode()
        response = client.post(path_of(endpoint), content=text, headers={"Content-Type": JSON})
        assert response.status_code in (200, 400), response.text
        check_described(document, endpoint, response)

    send()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_every_route_and_loads_nothing(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-security-policy"] == POLICY and "default-src 'none'" in POLICY
    page = Page()
    page.feed(response.text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "form", "object"})
    assert not any(
        name in ("style", "src") or name.startswith("on") for _, attributes in page.tags for name in attributes
    )
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    names = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert links == (links & names) | {"/openapi.json"}
    for endpoint in ENDPOINTS:
        assert f"<code>{endpoint.path}</code>" in response.text
