"""Label records of AI Hub's emotion data, and what a reader makes of them."""

import json
import unicodedata

from pipelines.samples.aihub import KOREAN

ANN, BEA = "a1" * 32, "b2" * 32
GOOD = {"minX": 10.0, "minY": 20.0, "maxX": 50.0, "maxY": 70.0}
INVERTED = {"minX": 50.0, "minY": 20.0, "maxX": 10.0, "maxY": 70.0}
OTHER = {"minX": 12.0, "minY": 26.0, "maxX": 58.0, "maxY": 60.0}


def file_name(emotion, *, person=ANN, number=1, background="오락&공연시설"):
    return f"{person}_여_30_{KOREAN[emotion]}_{background}_20201208114828-004-{number:03d}.jpg"


def annotator(emotion, box=GOOD):
    return {"boxes": box, "faceExp": KOREAN.get(emotion, emotion), "bg": "실외 자연환경"}


def record(name, emotion, votes=("", "", ""), boxes=(GOOD, GOOD, GOOD), **facts):
    votes = [vote or emotion for vote in votes]
    return {
        "filename": name,
        "gender": "여",
        "age": 30,
        "isProf": "일반인",
        "faceExp_uploader": KOREAN.get(emotion, emotion),
        "bg_uploader": "오락/공연시설",
        **{f"annot_{who}": annotator(vote, box) for who, vote, box in zip("ABC", votes, boxes, strict=True)},
        **facts,
    }


def published(name, emotion, votes, boxes):
    """The same facts under the names of the published schema."""
    return {
        "filename": name,
        "gender": "여",
        "age": 30,
        "faceExp_uploader": KOREAN[emotion],
        "bg_uploader": "오락/공연시설",
        **{
            f"faceBB_{who}": [{"boxes": [{**box, "label": KOREAN[vote]}], "entireLabel": "실외 자연환경"}]
            for who, vote, box in zip("ABC", votes, boxes, strict=True)
        },
    }


def text(records, encoding="utf-8"):
    return json.dumps(records, ensure_ascii=False).encode(encoding)


def emotions(result):
    return {record.path: record.faces[0].attributes["emotion"] for record in result.records}


def dropped(result):
    return result.dropped.counts


def mangled(name):
    """What a name in CP949 becomes when an unpacker takes it for CP437."""
    return name.encode("cp949").decode("cp437")


FORMS = {
    "composed": str,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "mangled": mangled,
}


def boxes_of(listing):
    """The merged box of every record, before the size of its picture is known."""
    return [
        listing.merge([choice[0] for choice in record.candidates]) if record.candidates else None
        for record in listing.records
    ]
