"""The encoding of a text is told from the whole text."""

import pytest

from components.shared.dataset.encodings import AmbiguousEncodingError, decode
from serving.runtime.errors import InputError

TEXTS = {
    "cp949": [
        "path,gender\n1.jpg,남\n2.jpg,여\n",
        "이름,감정\na.jpg,기쁨\nb.jpg,슬픔\n",
        "path,label\n1.jpg,고양이\n2.jpg,강아지\n",
        "얼굴/하나.jpg,김철수\n얼굴/둘.jpg,박영희\n",
        "label\n착용\n미착용\n턱스크\n",
    ],
    "gb18030": [
        "path,gender\n1.jpg,男\n2.jpg,女\n",
        "path,label\n1.jpg,高兴\n2.jpg,悲伤\n3.jpg,愤怒\n",
        "path,label\n1.jpg,佩戴口罩\n2.jpg,未佩戴口罩\n",
        "图片,表情\n照片1.jpg,微笑\n照片2.jpg,惊讶\n",
        "人脸/张伟_30.jpg,北京\n人脸/李娜_25.jpg,上海\n",
    ],
    "big5hkscs": [
        "path,gender\n1.jpg,男\n2.jpg,女\n",
        "圖片,情緒\n照片1.jpg,高興\n照片2.jpg,悲傷\n",
        "path,who\n1.jpg,王小明\n2.jpg,陳大文\n3.jpg,林美麗\n",
    ],
    "cp932": [
        "path,label\n1.jpg,喜び\n2.jpg,悲しみ\n",
        "path,label\n1.jpg,マスクあり\n2.jpg,マスクなし\n",
        "画像,感情\n写真1.jpg,男性\n写真2.jpg,女性\n",
        "path,who\n1.jpg,田中\n2.jpg,佐藤\n3.jpg,鈴木\n",
    ],
    "cp1252": [
        "path,label\n1.jpg,fâché\n2.jpg,étonné\n",
        "path,label\n1.jpg,männlich\n2.jpg,glücklich\n",
        "path,who\n1.jpg,José\n2.jpg,Muñoz\n",
        "note\nit’s 20°C – cold\n",
    ],
    "cp1251": ["path,label\n1.jpg,кошка\n2.jpg,собака\n"],
}


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
@pytest.mark.parametrize("rows", [1, 300])
def test_an_encoding_is_told(encoding, text, rows):
    text += "".join(f"{number}.jpg,{number}\n" for number in range(rows))
    decoded = decode(text.encode(encoding), "a.csv")
    assert decoded.text == text and decoded.encoding == encoding


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["기쁨,남\n", "高兴\n", "喜び\n", "café\n", "plain\n", ""])
def test_unicode_comes_first(encoding, text):
    assert decode(text.encode(encoding), "a.csv", "cp949").text == text


def test_one_word_among_much_ascii_counts_as_much_as_a_text_of_words():
    text = "".join(f"images/{number:05}.jpg,cat,{number}\n" for number in range(5000)) + "images/x.jpg,기쁨,1\n"
    assert decode(text.encode("cp949"), "a.csv").text == text


@pytest.mark.parametrize(("text", "encoding"), [("猫", "cp932"), ("貓", "big5"), ("鸟", "gbk")])
def test_two_readings_that_are_equally_likely_are_refused_with_both(text, encoding):
    with pytest.raises(AmbiguousEncodingError, match=r"a.csv: cannot tell its encoding: in \w+ it has '.', in \w+ '.'"):
        decode(text.encode(encoding), "a.csv")
    assert decode(text.encode(encoding), "a.csv", encoding).text == text


def test_damaged_utf8_is_not_another_encoding():
    data = "path,label\n1.jpg,기쁨\n2.jpg,슬픔\n3.jpg,".encode() + b"\xea\xb8\n"
    with pytest.raises(InputError, match="a.csv: line 4 is not UTF-8 and the rest is"):
        decode(data, "a.csv")


def test_a_named_encoding_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="a.csv: not a text in UTF-8 or big5; change the option 'encoding'"):
        decode(b"\xff\xff", "a.csv", "big5")
