import json
import time

import pytest
from kfp import dsl

from components.curate.component import curate as curate_component
from components.curate.curate import OPERATIONS, curate
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from serving.runtime.errors import InputError

HALF = {"sample": {"ratio": 0.5, "label_space": "emotion", "seed": 1.0}}


def test_operations_are_applied_in_order_and_each_is_told(run, emotion_images):
    images = emotion_images({"anger": 8, "sad": 4})
    report, data = run(images, HALF, HALF, info={"dropped": {"truncated": 2}, "dropped_examples": {"truncated": ["x"]}})
    assert [entry.operation for entry in data.info.curation] == ["sample", "sample"]
    first, second = data.info.curation
    assert first.options == {
        "label_space": "emotion", "per": "class", "ratio": 0.5, "seed": 1, "splits": ["train"],
    }  # fmt: skip
    assert (first.before.images, first.after.images, second.after.images) == (12, 6, 3)
    assert first.after == second.before
    assert first.before.class_counts["emotion"]["anger"] == 8
    assert report.operations[0].before.class_counts["emotion"]["sad"] == 4
    assert report.operations[-1].after.class_counts["emotion"] == second.after.class_counts["emotion"]
    assert report.operations[-1].after.class_counts["emotion"]["anger"] == 2
    assert data.info.dropped == {"truncated": 2, "not_sampled": 9}
    assert data.info.dropped_examples["truncated"] == ["x"]
    assert len(data.info.dropped_examples["not_sampled"]) == 9
    assert data.info.counts.record() == {"images": 3, "faces": 3, "persons": 3, "images_without_person": 0}
    _, again = run(data.images, HALF, info=data.info)
    assert len(again.info.curation) == 3


def test_nothing_to_do_changes_nothing(run, emotion_images):
    images = emotion_images({"anger": 8})
    report, data = run(images, info={"source": "raw"})
    assert data.images == images
    assert data.info.source == "raw"
    assert (data.info.curation, report.operations) == ((), [])
    assert report.dropped == {}


def test_same_input_same_bytes(run, tmp_path, person_images):
    persons = [(f"{index}", ["male", "female"][index % 2], 20 + index) for index in range(40)]
    chain = [
        {"corrections": {"table": "gender_and_mask"}},
        {"drop_ages": {"ranges": [[30, 34]]}},
        {"sample": {"ratio": 0.3, "label_space": "mask_gender_age", "per": "person"}},
    ]
    for _ in range(2):
        run(person_images(persons), *chain)
    assert (tmp_path / "out0.json").read_bytes() == (tmp_path / "out1.json").read_bytes()


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (
            [{"smaple": {}}],
            f"operation 1: 'smaple' is unknown, did you mean 'sample'\\?; known: {', '.join(sorted(OPERATIONS))}",
        ),
        ([HALF, {}], "operation 2: expected a mapping of one name to its options, got {}. Known: sample,"),
        ([{"sample": {}, "drop": {}}], "operation 1: expected a mapping of one name"),
        (["sample"], "operation 1: expected a mapping of one name to its options, got 'sample'"),
        ([{"sample": 0.5}], "options of operation 'sample': expected a mapping, got 0.5; known: ratio, per,"),
        (
            [{"sample": {"ratoi": 1, "label_space": "mask"}}],
            r"ratoi = 1: unknown key, did you mean 'ratio'\?; known: label_space, per, ratio, seed, splits",
        ),
        ([{"sample": {"ratio": 0, "label_space": "mask"}}], "ratio = 0: Input should be greater than 0"),
        ([{"sample": {"ratio": 1.5, "label_space": "mask"}}], "ratio = 1.5: "),
        (
            [{"sample": {"ratio": 0.5, "label_space": "mask", "per": "face"}}],
            "per = 'face': unknown name; known: class, person",
        ),
        (
            [{"sample": {"ratio": 0.5, "label_space": "mask", "splits": ["dev"]}}],
            "= 'dev': .*known: test, train, val",
        ),
        ([{"sample": {"ratio": 0.5, "label_space": "mask", "seed": 1.5}}], "seed = 1.5: "),
        ([{"sample": {"ratio": 0.5, "label_space": "maske"}}], "unknown label space 'maske'"),
        ([{"sample": {"ratio": 0.01, "label_space": "emotion"}}], "operation 'sample' leaves no image"),
    ],
)
def test_wrong_operations_are_named(run, emotion_images, operations, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(emotion_images({"anger": 8}), *operations)
    assert not (tmp_path / "out0.json").exists()


def test_output_equal_to_an_input_is_refused(tmp_path, emotion_images):
    path, other = tmp_path / "a.json", tmp_path / "tree" / "b.json"
    other.parent.mkdir()
    for target in (path, other):
        write_annotations(Annotations(emotion_images({"anger": 8})), target)
    (tmp_path / "link.json").symlink_to(path)
    before = path.read_bytes()
    for output in (path, tmp_path / "x" / ".." / "a.json", tmp_path / "link.json"):
        with pytest.raises(InputError, match="the output would overwrite the input"):
            curate(path, output, [HALF])
    for operation, output in [
        ({"merge": {"annotations": str(other)}}, other),
        ({"sync": {"folder": str(other.parent)}}, other.parent / "c.json"),
    ]:
        with pytest.raises(InputError, match="the output would overwrite the input"):
            curate(path, output, [operation])
    assert path.read_bytes() == other.read_bytes() == before


def test_a_killed_curate_leaves_no_output(tmp_path, emotion_images, kill_when_ready):
    write_annotations(Annotations(emotion_images({"anger": 8})), tmp_path / "in.json")
    program = (
        "import sys, time; from pathlib import Path; from components.curate.curate import curate\n"
        "def stop(self, target): print('ready', flush=True); time.sleep(60)\n"
        "Path.replace = stop\n"
        "curate(Path(sys.argv[1]), Path(sys.argv[2]), [])\n"
    )
    kill_when_ready(program, tmp_path / "in.json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_label_space_that_an_operation_names_is_counted_too(run):
    images = [Image(index, f"{index}", 9, 9, (Face(index, None, {"label": "ab"[index % 2]}),)) for index in range(1, 9)]
    report, _ = run(images, {"sample": {"ratio": 0.5, "label_space": "label:a,b"}})
    assert report.operations[0].before.class_counts == {"label:a,b": {"a": 4, "b": 4}}
    assert report.operations[-1].after.class_counts == {"label:a,b": {"a": 2, "b": 2}}


def test_200_000_images_in_seconds(run, person_images):
    persons = [(f"{index:06}", ["male", "female"][index % 2], 18 + index % 43) for index in range(28_572)]
    images = person_images(persons)
    assert len(images) == 200_004
    for operation in (
        {"sample": {"ratio": 0.5, "label_space": "mask_gender_age"}},
        {"sample": {"ratio": 0.5, "label_space": "mask_gender_age", "per": "person"}},
        {"corrections": {"table": "gender_and_mask"}},
    ):
        name, options = next(iter(operation.items()))
        start = time.process_time()
        OPERATIONS[name].run(images, OPERATIONS[name].options(**options))
        assert time.process_time() - start < 10


def test_the_door(tmp_path, emotion_images):
    write_annotations(Annotations(emotion_images({"anger": 8, "sad": 5})), tmp_path / "in.json")
    output = dsl.Dataset(uri=str(tmp_path / "out" / "curated"))
    metrics = dsl.Metrics(uri=str(tmp_path / "out" / "metrics"))
    curate_component.python_func(
        annotations=dsl.Dataset(uri=str(tmp_path / "in.json")),
        curated_annotations=output,
        metrics=metrics,
        operations=[HALF],
    )
    assert len(read_annotations(tmp_path / "out" / "curated").images) == 6
    assert metrics.metadata == {
        "images": 6.0,
        "faces": 6.0,
        "persons": 6.0,
        "dropped/not_sampled": 7.0,
        "1_sample/not_sampled": 7.0,
    }
    assert all(type(value) is float for value in metrics.metadata.values())
    json.dumps(metrics.metadata, allow_nan=False)


def test_annotations_without_an_image_are_refused(run, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="in0.json: contains no images, so there is nothing to curate"):
        run([], {"sync": {"folder": str(tmp_path / "folder")}})
