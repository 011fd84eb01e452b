"""Every metric and label in the alerts and the dashboard is exported by the server."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from docker_files import KUBERNETES
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.reference import HeadReference, Reference
from serving.server.drift import LEAST_FACES
from serving.server.http.app import create_app
from serving.server.sampling import Sampling
from serving.server.state import ModelRepository, ServerState

MONITORING = KUBERNETES / "base" / "monitoring"
# Labels that Prometheus itself puts on what it scrapes, and the bounds of a histogram.
SCRAPED = {"namespace", "job", "instance", "le"}
WORDS = {
    "sum", "min", "max", "count", "rate", "absent", "histogram_quantile", "vector", "by", "on", "and", "or",
    "group_left", "avg", "avg_over_time",
}  # fmt: skip


def expressions() -> list[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    board = json.loads((MONITORING / "dashboard.json").read_text())
    return [
        *(rule["expr"] for group in rules for rule in group["rules"]),
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
        *(variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"),
    ]


def names(expression: str) -> tuple[set[str], set[str]]:
    """The metrics and labels in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\[[^]]*\]", "", expression))
    labels = set(re.findall(r"(\w+)\s*[=!]~?", " ".join(re.findall(r"\{([^}]*)\}", bare))))
    lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare) + re.findall(r"label_values\(\w+,([^)]*)\)", bare)
    labels |= set(re.findall(r"\w+", " ".join(lists)))
    bare = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", re.sub(r"\{[^}]*\}", "", bare))
    bare = re.sub(r"label_values\((\w+),[^)]*\)", r"\1", bare)
    return set(re.findall(r"\b[a-z_]\w*", bare)) - WORDS, labels


@pytest.mark.parametrize("expression", expressions())
def test_metrics_and_labels_exist(expression: str, shown: dict[str, set[str]]) -> None:
    metrics, labels = names(expression)
    assert metrics and metrics <= set(shown), f"the server does not show {metrics - set(shown)}"
    known = SCRAPED.union(*(shown[metric] for metric in metrics))
    assert labels <= known, f"no metric of this expression has the label {labels - known}"


def test_metrics_and_labels_of_an_expression() -> None:
    assert names('sum by (a, le) (rate(m_bucket{b=~"x|y",c!="m2"}[5m])) > 0.1 and on (d) other') == (
        {"m_bucket", "other"},
        {"a", "b", "c", "d", "le"},
    )


@pytest.fixture(scope="module")
def shown(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every metric that the server shows once it has been asked a few things."""
    content = model_file.read_bytes()
    ((face,),) = open_model(content, threads=1).predict([(Photo.of_pixels(np.zeros((9, 9, 3), np.uint8)), [])])
    heads = {name: HeadReference.of(list(said), np.array([list(said.values())])) for name, said in face.heads.items()}
    model = open_model(content, threads=1, reference=Reference(heads=heads).model_dump_json().encode())
    sampling = Sampling(str(tmp_path_factory.mktemp("samples")), 0.1)
    state = ServerState(models=ModelRepository(model), sampling=sampling)
    state.drift.observe(model, [face] * 2 * LEAST_FACES, (9, 9))
    client = TestClient(create_app(state))
    client.post("/predict", content=b"no image")
    client.get("/v2")
    found: dict[str, set[str]] = {}
    text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser appends `_total` to Triton's counters, which Prometheus does not.
            name = sample.name if sample.name in text else sample.name.removesuffix("_total")
            found.setdefault(name, set()).update(sample.labels)
    return found
