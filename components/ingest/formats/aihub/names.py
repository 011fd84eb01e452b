"""Labels in the folder and file names of AI Hub's emotion data."""

import re
from dataclasses import dataclass
from functools import lru_cache

from components.shared.dataset.label_spaces import canonical_value, label_space
from components.shared.dataset.text import composed
from components.shared.dataset.vocabulary import SPLITS

EMOTIONS = label_space("emotion").class_labels

# In this data set these words mean one of its seven emotions.
_TRANSLATIONS = {"neutral": "normal", "hurt": "pain"}
_SPLIT_WORDS = {**SPLITS, "training": "train"}
_SPLIT_FOLDERS = {**_SPLIT_WORDS, "test_set": "test"}
_WORD = re.compile(r"[^\W_]+")
_HANGUL = re.compile("[가-힣]")
_NAME = re.compile(r"([^_]+)_(남|여)_(\d{1,2})대?_([^_]+)_(.+)_([^_]+)")


@dataclass(frozen=True, slots=True)
class FolderLabels:
    """The emotion (one of EMOTIONS) and the split of a folder; None when its names have none."""

    emotion: str | None
    split: str | None


@dataclass(frozen=True, slots=True)
class NameLabels:
    """The labels in a file name. `person` is the uploader's hash; `background` may contain `/`."""

    person: str
    gender: str
    age: int
    background: str


def repaired(text: str) -> str:
    """Return the text in composed letters (NFC), the form in which names are compared.

    A Korean name that an unpacker took for CP437 (`▒Γ╗▌` for `기쁨`) becomes what it was.
    """
    text = composed(text)
    if text.isascii():
        return text
    try:
        original = text.encode("cp437").decode("euc_kr")
    except UnicodeError:
        return text
    return original if _HANGUL.search(original) else text


@lru_cache(maxsize=4096)
def emotion_of(word: str) -> str | None:
    """Return which of EMOTIONS a word means, or None."""
    value = str(canonical_value("emotion", word))
    value = _TRANSLATIONS.get(value, value)
    return value if value in EMOTIONS else None


@lru_cache(maxsize=4096)
def folder_labels(folder: str) -> FolderLabels:
    """Return the emotion and the split of a path of folders, however deep they are nested.

    A folder has an emotion when exactly one of the seven is among the words of its name: `기쁨`, `emb`, `test_hap`,
    `EMOIMG_ANGER_SAMPLE`, `[원천]EMOIMG_기쁨_TRAIN_01`. The innermost folder that has one counts. A folder that is
    called `train`, `validation`, `test_set` or the like gives the split; without one, the words of the names do, again
    from the innermost.
    """
    parts = [repaired(part).lower() for part in reversed(folder.split("/"))]
    words = [_WORD.findall(part) for part in parts]
    emotions = [_only({emotion_of(word) for word in row}) for row in words]
    named = [_SPLIT_FOLDERS.get(part.strip()) for part in parts]
    hinted = [_only({_SPLIT_WORDS.get(word) for word in row}) for row in words]
    return FolderLabels(_first(emotions), _first([*named, *hinted]))


def _only(values: set[str | None]) -> str | None:
    known = values - {None}
    return known.pop() if len(known) == 1 else None


def _first(values: list[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def parse_name(file_name: str) -> NameLabels | None:
    """Read `<uploader hash>_<남|여>_<age>_<emotion>_<background>_<upload number>.<ext>`; None for any other name.

    `&` in the background means `/`.
    """
    stem, dot, _ = repaired(file_name).rpartition(".")
    match = _NAME.fullmatch(stem) if dot else None
    if match is None:
        return None
    person, gender, age, _, background, _ = match.groups()
    return NameLabels(person, str(canonical_value("gender", gender)), int(age), background.replace("&", "/"))


def join_key(file_name: str) -> str:
    """Return the form in which the name of a label record equals the name of its image file.

    A record may spell the background with `/` where the file has `&`, or put folders before the name.
    """
    name = repaired(file_name.strip())
    if "/" not in name:
        return name
    escaped = name.replace("/", "&")
    return escaped if parse_name(escaped) else name.rpartition("/")[2]
