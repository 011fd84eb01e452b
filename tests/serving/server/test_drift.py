"""How far what is served differs from the test split, as the metrics tell it."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tiny_model import build_model, card_facts

from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.runtime.reference import BRIGHTNESS, CONFIDENCE, FACE_SIDE, HeadReference, Histogram, Reference
from serving.server.drift import LEAST_FACES
from serving.server.http.app import create_app
from serving.server.sampling import Sampling
from serving.server.state import ModelRepository, ServerState

LEVELS = np.random.default_rng(0).integers(90, 130, 400).tolist()
BOX = (4.0, 4.0, 60.0, 60.0)


def photo(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def predictions(model: Predictor, level: int) -> dict[str, list[float]]:
    ((face,),) = model.predict([(Photo(photo(level)), [BOX])])
    return {name: list(values.values()) for name, values in face.heads.items()}


@pytest.fixture(scope="module")
def content() -> bytes:
    """What the tiny model saw in pictures of middling gray levels."""
    model = open_model(build_model(), threads=1)
    said = {level: predictions(model, level) for level in set(LEVELS)}
    heads = {
        head.name: HeadReference.of(head.labels, np.array([said[level][head.name] for level in LEVELS]))
        for head in model.card.heads
    }
    reference = Reference(
        brightness=Histogram.of(map(float, LEVELS), BRIGHTNESS),
        face_side=Histogram.of([60.0] * 400, FACE_SIDE),
        heads=heads,
    )
    return reference.model_dump_json().encode()


def metrics(client: TestClient) -> dict[tuple[str, ...], float]:
    samples = [
        sample for family in text_string_to_metric_families(client.get("/metrics").text) for sample in family.samples
    ]
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}


def client_of(*models: Predictor) -> TestClient:
    return TestClient(create_app(ServerState(models=ModelRepository(*models))))


def ask(client: TestClient, levels: list[int]) -> None:
    files = {level: photo(level) for level in set(levels)}
    for level in levels:
        answer = client.post("/predict?box=4,4,60,60", content=files[level])
        assert answer.status_code == 200, answer.text


def test_pictures_like_those_of_the_test_split_are_no_drift_and_others_are(content: bytes) -> None:
    client = client_of(open_model(build_model(), name="tiny", version="1", threads=1, reference=content))
    drift = ("facet_drift", "", "1", "brightness", "tiny")
    ask(client, LEVELS[: LEAST_FACES - 1])
    assert drift not in metrics(client)
    ask(client, LEVELS[LEAST_FACES - 1 : 250])
    similar = metrics(client)
    assert similar[drift] < 0.1
    assert similar["facet_drift", "", "1", "face_side", "tiny"] < 0.1
    ask(client, [230] * 150)
    bright = metrics(client)
    assert bright[drift] > 0.25
    assert bright["facet_drift", "", "1", "face_side", "tiny"] < 0.1
    assert bright["facet_face_brightness_count", "1", "tiny"] == 400
    assert sum(value for key, value in bright.items() if key[0] == "facet_labels_total" and "mask" in key) == 400
    assert bright["facet_confidence_bucket", "+Inf", "1", "mask", "tiny"] == 400


def test_without_a_reference_there_are_counts_and_no_distance() -> None:
    client = client_of(open_model(build_model(), name="tiny", version="1", threads=1))
    ask(client, [100] * LEAST_FACES)
    found = metrics(client)
    assert found["facet_face_side_pixels_count", "1", "tiny"] == LEAST_FACES
    assert not [key for key in found if key[0] == "facet_drift"]


def test_of_a_box_counts_what_the_photo_shows_of_it() -> None:
    client = client_of(open_model(build_model(), name="tiny", version="1", threads=1))
    for box in ("10,20,1e26,5", "-1e9,30,1e10,1e300", "0,0,64,1"):
        assert client.post(f"/predict?box={box}", content=photo(100)).status_code == 200
    found = metrics(client)
    assert found["facet_face_side_pixels_count", "1", "tiny"] == 3
    expected = (70 * 5) ** 0.5 + (80 * 50) ** 0.5 + 8
    assert found["facet_face_side_pixels_sum", "1", "tiny"] == pytest.approx(expected)


def test_what_a_model_has_seen_goes_with_it(content: bytes) -> None:
    model = open_model(build_model(card_facts()), name="tiny", version="1", threads=1, reference=content)
    client = client_of(model)
    ask(client, [100])
    state = client.app.state.server  # type: ignore[attr-defined]
    assert ("facet_face_brightness_count", "1", "tiny") in metrics(client)
    state.models = ModelRepository(open_model(build_model(), name="tiny", version="2", threads=1))
    assert ("facet_face_brightness_count", "1", "tiny") not in metrics(client)


def test_a_file_may_be_replaced_within_its_version(content: bytes) -> None:
    """With other heads, too; sampling goes on, and a composite's member beside it is not counted twice."""
    hat = card_facts(label_space="hat:cap,none", heads=[{"name": "hat", "labels": ["cap", "none"]}])
    before = open_model(build_model(), name="tiny", version="1", threads=1, reference=content)
    after = open_model(build_model(hat), name="tiny", version="1", threads=1)
    sampling = Sampling("/nowhere", 1.0)
    state = ServerState(models=ModelRepository(before), sampling=sampling)
    client = TestClient(create_app(state))
    ask(client, [100] * 3)
    state.models = ModelRepository(after)
    ask(client, [100] * 2)
    (faces,) = before.predict([(Photo(photo(100)), [])])
    state.drift.observe(before, faces, (80, 80))  # a request that still had the old one
    found = metrics(client)
    assert found["facet_confidence_count", "1", "hat", "tiny"] == 2
    assert not [key for key in found if key[0] == "facet_labels_total" and "mask" in key]
    assert sampling._waiting.qsize() == 5
    ask(client, [100])
    assert metrics(client)["facet_confidence_count", "1", "hat", "tiny"] == 3


def test_another_reference_is_used_for_what_was_seen_before(content: bytes) -> None:
    state = ServerState(models=ModelRepository(open_model(build_model(), name="tiny", version="1", threads=1)))
    client = TestClient(create_app(state))
    ask(client, [100] * 150)
    assert ("facet_drift", "", "1", "brightness", "tiny") not in metrics(client)
    state.models = ModelRepository(open_model(build_model(), name="tiny", version="1", threads=1, reference=content))
    found = metrics(client)
    assert found["facet_drift", "", "1", "brightness", "tiny"] > 0
    assert found["facet_face_brightness_count", "1", "tiny"] == 150


def test_files_count_the_same_whatever_protocol_brings_them() -> None:
    """The same bytes to /predict and to the Open Inference Protocol: the same counts and the same samples."""
    model, files = open_model(build_model(), name="tiny", version="1", threads=1), [photo(60), photo(200)]
    told, kept = [], []
    for protocol in ("predict", "infer"):
        sampling = Sampling("/nowhere", 1.0)
        client = TestClient(create_app(ServerState(models=ModelRepository(model), sampling=sampling)))
        if protocol == "predict":
            for file in files:
                assert client.post("/predict", content=file).status_code == 200
        else:
            data = [base64.b64encode(file).decode() for file in files]
            tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "data": data}
            assert client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 200
        seen = ("facet_face_", "facet_confidence", "facet_labels")
        told.append({key: value for key, value in metrics(client).items() if key[0].startswith(seen)})
        samples = [sampling._waiting.get() for _ in range(sampling._waiting.qsize())]
        kept.append(
            [(one.data, [(face.box, face.crop, face.brightness) for face in one._faces]) for one in samples if one]
        )
    assert told[1] == pytest.approx(told[0]) and told[0]["facet_face_brightness_count", "1", "tiny"] == 2
    assert kept[0] == kept[1] and [data for data, _ in kept[0]] == files


def test_bins_of_another_version_are_not_compared(content: bytes) -> None:
    reference = Reference.model_validate_json(content)
    other = reference.model_copy(update={"brightness": Histogram.of(LEVELS, (100.0,))})
    assert reference.heads["mask"].confidence.bounds == CONFIDENCE
    model = open_model(build_model(), name="tiny", version="1", threads=1, reference=other.model_dump_json().encode())
    client = client_of(model)
    ask(client, [100] * (LEAST_FACES + 30))
    found = metrics(client)
    assert ("facet_drift", "", "1", "brightness", "tiny") not in found
    assert ("facet_drift", "", "1", "face_side", "tiny") in found
