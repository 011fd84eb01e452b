"""The encoding of texts and of file names that do not say it."""

import codecs
import re
import unicodedata
from dataclasses import dataclass

from components.shared.dataset.vocabulary import FOREIGN_WORDS
from serving.runtime.errors import InputError

# Names in Python and in chardet, which tells the likelihoods. Those of multiple bytes come first.
_CANDIDATES = {
    "cp949": {"cp949", "euc-kr"},
    "gb18030": {"gb18030", "gbk", "gb2312"},
    "big5hkscs": {"big5hkscs", "big5"},
    "cp932": {"cp932", "shift_jis", "shift_jis_2004"},
    "cp1252": {"cp1252", "windows-1252", "iso-8859-1"},
    "cp1251": {"cp1251", "windows-1251"},
}
_MULTIPLE_BYTES = 4
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# No byte of these is the second half of a letter in any candidate but for the rare four-byte ones of GB18030.
_TOKEN = re.compile(rb"[^\x00-\x2f:-?]+")
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[A-Za-z]")
_CYRILLIC_LETTERS = 3
_SAMPLE_BYTES = 2**20
# Measured on some 30 short words of each language, 1 to 8 of them: below this ratio the wrong reading may win.
_CLEARLY, _CLEARLY_OF_FEW, _FEW_LETTERS = 1.5, 2.0, 6
_LEAST = 0.003
# A text of another language becomes a Hangul syllable of KS X 1001 by each letter with a chance of about 0.8.
_CHANCE_OF_HANGUL, _MOST_SYLLABLES = 0.8, 12
_WEIGHT_OF_A_WORD, _MOST_WORDS = 50.0, 3
_SHOWN_WORDS = 5


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and the encoding that it was read in; `utf-8` for UTF-8 with and without a mark."""

    text: str
    encoding: str


class AmbiguousEncodingError(InputError):
    """Two readings of a text are equally likely."""


def decode(data: bytes, name: str, encoding: str | None = None, advice: str = "save it as UTF-8") -> Decoded:
    """Decode UTF-8, or by its byte order mark UTF-16 and UTF-32, or else `encoding`; by default the likeliest one.

    The likelihood is that of the whole text, see `likeliest`. Raises InputError, naming the text and with `advice`,
    when it is in none of them, and AmbiguousEncodingError with both readings when two are equally likely.
    """
    for mark, marked in _MARKS.items():
        if data.startswith(mark):
            text = decoded(data, marked)
            if text is not None:
                return Decoded(text, "utf-8" if marked == "utf-8-sig" else marked)
    text = decoded(data, "utf-8")
    if text is not None and not (encoding and "\0" in text):
        return Decoded(text, "utf-8")
    if encoding is not None:
        text = decoded(data, encoding)
        if text is None:
            raise InputError(f"{name}: not a text in UTF-8 or {encoding}; change the option 'encoding'")
        return Decoded(text, encoding)
    _refuse_damaged(data, name, advice)
    found = likeliest(data, name, advice)
    if found is None:
        *others, last = (candidate.upper() for candidate in _CANDIDATES)
        raise InputError(f"{name}: not a text in UTF-8 or {', '.join(others)} or {last}; {advice}")
    return Decoded(data.decode(found), found)


def likeliest(data: bytes, name: str, advice: str) -> str | None:
    """Return the likeliest encoding of bytes that are not UTF-8, None when no candidate reads them.

    chardet weighs all different words with letters beyond ASCII. A reading of Hangul alone, and one with words of the
    vocabulary, weigh more. Raises AmbiguousEncodingError with both readings when two are equally likely.
    """
    texts = {candidate: text for candidate in _CANDIDATES if (text := _readable(data, candidate)) is not None}
    if not texts:
        return None
    measured = _measured(data)
    scores = {candidate: _score(candidate, text, measured) for candidate, text in texts.items()}
    first, *others = sorted(scores, key=lambda candidate: -scores[candidate])
    if not scores[first]:
        return None
    few = len({letter for letter in texts[first] if not letter.isascii()}) < _FEW_LETTERS
    for other in others:
        ratio = _CLEARLY_OF_FEW if few else _CLEARLY
        if texts[other] != texts[first] and scores[first] < ratio * scores[other]:
            raise AmbiguousEncodingError(
                f"{name}: cannot tell its encoding: in {first} it has {shown_words(texts[first])}, in {other} "
                f"{shown_words(texts[other])}; {advice}"
            )
    return first


def shown_words(text: str) -> str:
    """Return the first words of a text that have letters beyond ASCII, to be shown to a person."""
    words = dict.fromkeys(word for word in _WORD.findall(text) if not word.isascii())
    return ", ".join(f"'{word}'" for word in list(words)[:_SHOWN_WORDS]) or repr(text[:20])


def decoded(data: bytes, encoding: str) -> str | None:
    """Return the text, None where the bytes are none in this encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _readable(data: bytes, encoding: str) -> str | None:
    """Return the text when it has no control characters and no unassigned ones, and no word of two alphabets.

    Any two bytes are Cyrillic letters, so a word must be longer.
    """
    text = decoded(data, encoding)
    if text is None or any(unicodedata.category(letter) in ("Cc", "Co", "Cn") for letter in set(text) - set("\r\n\t")):
        return None
    words = [word for word in set(_WORD.findall(text)) if not word.isascii()]
    if encoding == "cp1251" and (any(map(_LATIN.search, words)) or max(map(len, words), default=0) < _CYRILLIC_LETTERS):
        return None
    return text


def _measured(data: bytes) -> dict[str, float]:
    """Return chardet's confidence by encoding, of the different words that have bytes beyond ASCII."""
    import chardet  # takes 0.2 s, and nearly every text is UTF-8

    words: dict[bytes, None] = {}
    size = 0
    for token in _TOKEN.findall(data):
        if not token.isascii() and token not in words:
            words[token] = None
            size += len(token)
            if size > _SAMPLE_BYTES:
                break
    found = chardet.detect_all(
        b"\n".join(words),
        ignore_threshold=True,
        include_encodings=[*_CANDIDATES, "utf-8"],
        no_match_encoding="utf-8",
        compat_names=False,
        max_bytes=2 * _SAMPLE_BYTES,
    )
    return {str(result["encoding"]).lower(): float(result["confidence"]) for result in found}


def _score(candidate: str, text: str, measured: dict[str, float]) -> float:
    score = max(measured.get(name, 0.0) for name in _CANDIDATES[candidate])
    if candidate in list(_CANDIDATES)[:_MULTIPLE_BYTES]:
        score = max(score, _LEAST)
    if candidate == "cp949":
        letters = {letter for letter in text if not letter.isascii()}
        if all("가" <= letter <= "힣" for letter in letters if letter.isalpha()):
            usual = sum(len(letter.encode("euc_kr", "ignore")) == 2 for letter in letters)
            score /= _CHANCE_OF_HANGUL ** min(usual, _MOST_SYLLABLES)
    words = FOREIGN_WORDS.intersection(_WORD.findall(text))
    return score * _WEIGHT_OF_A_WORD ** min(len(words), _MOST_WORDS)


def _refuse_damaged(data: bytes, name: str, advice: str) -> None:
    """Raise InputError, naming the line, when most words are UTF-8: then it is UTF-8 with damaged bytes."""
    words = {token for token in _TOKEN.findall(data) if not token.isascii()}
    utf8 = [word for word in words if len(word) > 2 and decoded(word, "utf-8") is not None]
    if 2 * len(utf8) <= len(words) or max(map(max, utf8), default=0) < 0xE0:
        return
    for number, line in enumerate(data.splitlines(), start=1):
        if decoded(line, "utf-8") is None:
            raise InputError(f"{name}: line {number} is not UTF-8 and the rest is; {advice}")
