"""Triton's layout, in a folder and in S3: which versions are served, and what a broken one changes."""

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_store import Store, flipped, sealed_model, served
from tiny_detector import build_detector

from serving.runtime.errors import InputError
from serving.server.repository.config import ModelConfig, read_config
from serving.server.repository.layout import Repository

# As Triton's documentation writes it.
CONFIG = """
name: "mask"  # comment
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  { name: "images" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ -1, -1, 3 ] },
  { name: "unused" dims: [ 1 ] reshape { shape: [ ] } }
]
output [ { name: "mask", data_type: TYPE_FP32, dims: [ 3 ], label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
optimization { execution_accelerators { cpu_execution_accelerator : [ { name : "openvino" } ] } }
parameters { key: "a" value: { string_value: "b \\"c\\"" } }
"""


def test_a_configuration_as_triton_has_it() -> None:
    assert read_config(CONFIG, "mask", "c") == ModelConfig(1, (), "", {"mask": "labels.txt"})
    assert read_config("", "mask", "c") == ModelConfig()
    assert read_config('backend: "onnxruntime" default_model_filename: "best.onnx"', "m", "c").file == "best.onnx"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name: "other"', "its name is 'other', but its folder is 'mask'"),
        ('platform: "ensemble"', "platform 'ensemble' is not for this server"),
        ('backend: "python"', "backend 'python'"),
        ('default_model_filename: "../../secret"', "is not the name of a file"),
        ('output { name: "mask" label_filename: ".." }', "is not the name of a file"),
        ("version_policy: newest", "version_policy is not understood"),
        ("version_policy { specific { versions: [ x ] } }", "version_policy is not understood"),
        ("version_policy { specific { versions: [ -1 ] } }", "version_policy is not understood"),
        ("version_policy { specific { } }", "specific names no version"),
        ("name: ", "not in protobuf's text format"),
        ("{" * 3, "not in protobuf's text format"),
        ("a {" * 5000, "not in protobuf's text format"),
        ('name: "open', "not in protobuf's text format"),
    ],
)
def test_a_configuration_that_is_none(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=f"models/mask/{Path('config.pbtxt')}: .*{expected}"):
        read_config(text, "mask", "models/mask/config.pbtxt")


@given(st.text(alphabet=' \n"\\{}[]<>:,;#x1-', max_size=60))
def test_any_text_is_a_configuration_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        read_config(text, "mask", "c")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", ["10"]),
        ("version_policy: { latest { num_versions: 2 } }", ["10", "2"]),
        ("version_policy { latest { } }", ["10"]),
        ("version_policy { all { } }", ["10", "2", "1"]),
        ("version_policy: { specific: { versions: [ 1, 10 ] } }", ["10", "1"]),
        ("version_policy: { specific: { versions: 2 versions: 1 } }", ["2", "1"]),
    ],
)
def test_the_versions_that_a_policy_names(folder_store: Store, policy: str, expected: list[str]) -> None:
    for number in (1, 2, 10):
        folder_store.put(f"mask/{number}/model.onnx", sealed_model(number))
    for other in ("mask/007/model.onnx", "mask/best/model.onnx", "mask/.tmp/model.onnx", ".git/1/model.onnx", "README"):
        folder_store.put(other, b"not looked at")
    if policy:
        folder_store.put("mask/config.pbtxt", policy)
    models = folder_store.models()
    assert served(models) == [("mask", version) for version in expected] and models.fault == ""


def test_what_is_new_is_served_and_what_is_broken_is_not(store: Store) -> None:
    store.put("mask/1/model.onnx", sealed_model(1))
    store.put("broken/1/model.onnx", b"no model")
    models = store.models()
    assert served(models) == [("mask", "1")]
    first = models.models[0]
    assert served(models) == [("mask", "1")] and models.models[0] is first, "nothing is loaded again"

    whole = sealed_model(2)
    for part in (whole[: len(whole) // 3], whole[:-1], flipped(whole)):
        store.put("mask/2/model.onnx", part)
        assert served(models) == [("mask", "1")] and models.models[0] is first
        (broken,) = [status for status in models.statuses if (status.name, status.version) == ("mask", "2")]
        assert broken.state == "UNAVAILABLE" and broken.reason
    assert "has changed since it was exported" in broken.reason
    store.put("mask/2/model.onnx", whole)
    assert served(models) == [("mask", "2")]

    second = models.models[0]
    store.put("mask/2/model.onnx", flipped(whole))
    assert served(models) == [("mask", "2")] and models.models[0] is second
    assert next(status for status in models.statuses if status.state == "READY").reason
    store.put("mask/2/model.onnx", whole)
    assert served(models) == [("mask", "2")] and models.models[0] is second, "the same bytes are the same model"
    store.put("mask/2/model.onnx", sealed_model(3))
    assert served(models) == [("mask", "2")] and models.models[0] is not second

    store.put("hats/1/model.onnx", sealed_model(4, name="x"))
    assert served(models) == [("hats", "1"), ("mask", "2")], "the folder gives the name"
    store.delete("mask/2")
    assert served(models) == [("hats", "1"), ("mask", "1")]
    store.delete("mask/1")
    assert served(models) == [("hats", "1")]
    store.delete("hats/1")
    store.delete("broken/1")
    assert served(models) == [("hats", "1")] and models.fault, "a repository that is empty all at once may be unmounted"


def test_labels_that_the_model_does_not_have(store: Store) -> None:
    store.put("mask/1/model.onnx", sealed_model(1))
    store.put("mask/labels.txt", "worn\nincorrect\n absent\n")
    models = store.models()
    assert served(models) == [("mask", "1")]
    store.put("mask/labels.txt", "absent\nincorrect\nworn\n")
    store.put("mask/2/model.onnx", sealed_model(2))
    assert served(models) == [("mask", "1")]
    expected = (
        "its labels are absent, incorrect, worn, but those of the model are mask: worn, incorrect, absent; gender"
    )
    assert all(expected in status.reason for status in models.statuses)
    store.put("mask/config.pbtxt", 'output { name: "gender" label_filename: "labels.txt" }')
    store.put("mask/labels.txt", "male\nfemale\n")
    assert served(models) == [("mask", "2")]
    store.put("mask/config.pbtxt", 'output { name: "mask" label_filename: "labels.txt" }')
    served(models)
    assert "its labels are male, female" in models.statuses[0].reason


def test_a_composite_follows_its_members(store: Store) -> None:
    in_s3 = store.uri.startswith("s3://")
    member = "shared/model.onnx" if in_s3 else "people/1/heads/mask.onnx"
    uri = f"{store.uri}/shared" if in_s3 else "heads/mask.onnx"
    store.put(member, sealed_model(1))
    store.put("people/1/green.onnx", build_detector(side=(320, 320)))
    store.put("people/1/composite.json", json.dumps({"name": "x", "detectors": ["green.onnx"], "heads": [uri]}))
    models = store.models()
    assert served(models) == [("people", "1")]
    first = models.models[0]
    assert served(models) == [("people", "1")] and models.models[0] is first
    store.put(member, flipped(sealed_model(2)))
    assert served(models) == [("people", "1")] and models.models[0] is first
    assert (
        f"its member {uri.rpartition('/')[2] if in_s3 else uri}"
        in next(status for status in models.statuses if status.name == "people").reason
    )
    store.put(member, sealed_model(2))
    assert served(models) == [("people", "1")] and models.models[0].sha256 != first.sha256


def test_what_is_no_repository(folder_store: Store) -> None:
    folder_store.put("model.onnx", sealed_model())
    with pytest.raises(InputError, match="is no repository: .* one model is given with --model"):
        Repository(folder_store.uri).look()
    folder_store.put("mask/notes.txt", "nothing yet")
    models = folder_store.models()
    assert served(models) == []
    (status,) = models.statuses
    assert status.name == "mask" and "mask has no version: expected a folder such as 1" in status.reason


CHANGES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["good", "other", "broken", "cut", "gone"])), min_size=1, max_size=8
)
CONTENT = {"good": sealed_model(1), "other": sealed_model(2)}
CONTENT |= {"broken": flipped(CONTENT["good"]), "cut": CONTENT["good"][:2000]}


@settings(max_examples=25, deadline=None)
@given(CHANGES)
def test_a_good_model_is_only_replaced_by_a_good_one(changes: list[tuple[int, str]]) -> None:
    """Whatever is written in whatever order: the newest good version answers, and what answered until there is one."""
    with tempfile.TemporaryDirectory() as folder:
        store, there = Store(folder, Path(folder)), dict[int, str]()
        models = store.models()
        expected: tuple[int, str] | None = None
        for version, change in changes:
            if change != "gone":
                store.put(f"mask/{version}/model.onnx", CONTENT[change])
                there[version] = change
            elif there.pop(version, None):
                store.delete(f"mask/{version}")
            for number in sorted(there, reverse=True):
                if there[number] in ("good", "other"):
                    expected = number, there[number]
                    break
                if expected and expected[0] == number:
                    break
            models.refresh()
            found = [(int(model.version), model.sha256) for model in models.models]
            assert found == ([(expected[0], hashlib.sha256(CONTENT[expected[1]]).hexdigest())] if expected else []), (
                there,
                expected,
            )
