"""Paths of the manifests, and views of built ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCKER = Path(__file__).resolve().parents[2] / "docker"
KUBERNETES = DOCKER / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())


class Overlay(list[dict[str, Any]]):
    """The objects of one overlay."""

    def only(self, kind: str) -> dict[str, Any]:
        found = [document for document in self if document["kind"] == kind]
        assert len(found) == 1, f"{len(found)} of kind {kind}"
        return found[0]


def pod_specs(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod spec) of every object with pods of ours."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Deployment":
            yield name, document["spec"]["template"]["spec"]
        elif document["kind"] == "ServingRuntime":
            yield name, {"containers": document["spec"]["containers"]}
