"""How people write the values of the attributes that are understood."""

VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "mask": {
        "worn": (
            "worn", "with_mask", "mask", "masked", "mask_on", "wearing_mask", "correct", "correct_mask", "mask_worn",
            "mask_worn_correctly", "mask_weared_correctly", "착용", "마스크", "정상착용",
        ),
        "incorrect": (
            "incorrect", "incorrect_mask", "mask_incorrect", "mask_weared_incorrect", "mask_worn_incorrect",
            "mask_worn_incorrectly", "mask_weared_incorrectly", "improper", "improper_mask", "턱스크", "비정상착용",
        ),
        "absent": (
            "absent", "without_mask", "no_mask", "nomask", "mask_off", "not_wearing_mask", "unmasked", "normal", "none",
            "not_worn", "미착용", "마스크_미착용",
        ),
    },
    "gender": {
        "male": ("male", "m", "man", "men", "boy", "boys", "males", "남", "남성", "남자", "남아", "男", "男性"),
        "female": (
            "female", "f", "woman", "women", "girl", "girls", "females", "여", "여성", "여자", "여아", "女", "女性",
        ),
    },
    "emotion": {
        "anger": ("anger", "분노", "ang", "test_ang"),
        "anxiety": ("anxiety", "불안", "anx", "test_anx"),
        "embarrass": ("embarrass", "당황", "emb", "test_emb"),
        "happy": ("happy", "기쁨", "hap", "test_hap"),
        "normal": ("normal", "중립", "nor", "test_nor"),
        "pain": ("pain", "상처", "pai", "test_pai"),
        "sad": ("sad", "슬픔", "test_sad"),
    },
}  # fmt: skip
"""The spellings of every value by attribute, in lower case, words joined by underscores.

Names of other taxonomies of emotions (neutral, angry, fear, ...) are classes of their own and must not be listed here.
"""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The names of splits that sources use, and ours."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        "path", "file", "file_path", "file_name", "image", "image_path", "image_file", "image_name", "img", "img_path",
        "img_file", "img_name", "photo", "picture", "경로", "파일", "파일명", "이미지", "사진",
    ),
    "person": ("person", "person_id", "subject", "subject_id", "group", "group_id", "identity", "사람", "인물"),
    "split": ("split", "subset", "set", "partition", "usage", "data_split"),
    "mask": ("mask", "face_mask", "mask_state", "마스크"),
    "gender": ("gender", "sex", "성별"),
    "age": ("age", "age_group", "age_range", "age_band", "나이", "연령", "연령대"),
    "emotion": ("emotion", "facial_expression", "expression", "감정", "표정"),
    "label": (
        "label", "labels", "class", "class_name", "class_label", "category", "category_name", "라벨", "레이블",
        "클래스",
    ),
}  # fmt: skip
"""The names of a table's columns by role; letters of either case, with or without spaces, underscores and dashes."""

SPELLINGS = {
    attribute: {word: value for value, words in values.items() for word in words}
    for attribute, values in VOCABULARY.items()
}
"""From a spelling to its value, by attribute."""

FOREIGN_WORDS = frozenset(
    word
    for words in (*(words for values in VOCABULARY.values() for words in values.values()), *COLUMNS.values())
    for word in words
    if not word.isascii()
) | {"이름"}
"""The words of other scripts: a text that has them is most likely read right."""
