"""Files with names of every kind that storage must carry."""

NAMES = {
    "a.jpg": b"one",
    "faces/1.jpg": b"first",
    "faces/10.jpg": b"tenth",
    "faces/2.jpg": b"",
    "faces-old/1.jpg": b"old",
    "faces2/1.jpg": b"not mine",
    "얼굴/사진 한 장 + 100%.jpg": b"korean",
    "odd/a&b=c?d#e;f'g\"h.jpg": b"signs",
    "odd/ leading and trailing ": b"spaces",
}
