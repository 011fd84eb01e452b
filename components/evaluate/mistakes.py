"""The worst mistakes: faces whose wrong class is the most probable, as pictures, with where the model looked."""

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from components.evaluate.labeled_faces import LabeledFace
from components.shared.dataset.annotations import named_points
from components.shared.dataset.archive import OtherPictureError
from components.shared.dataset.pictures import Pictures
from components.shared.dataset.predictions import Predictions
from components.shared.explain.activation import activation
from components.shared.explain.occlusion import RUNS, occlusion
from components.shared.explain.overlay import overlay
from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import eye_points, place
from serving.runtime.image.preprocess import cut_placed
from serving.runtime.predictor import Classifier

SHOWN = 24
PIXELS = SHOWN * RUNS * 224 * 224
"""As many pixels the model is given to find where it looked: all 24 mistakes at 224 x 224, the worst 8 at 384 x 384."""

_SIDE = 128
_QUALITY = 82
# What a model sees is not known without the model: the face with some of its surroundings.
_SEEN = CropRule(scale=1.3, mode="fit_inside")
_COLUMNS, _GAP, _LINE, _FONT_SIZE = 4, 10, 15, 12
_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A face with a wrong class.

    Attributes:
        subject: the face.
        row: its row in the predictions.
        truth: its class.
        guess: the class that it was given.
        probability: of the guess.
        of_truth: the probability of its class.
        crop: what the model saw, or without the model the face, uint8 RGB (h, w, 3); None without a picture.
        looked: where the model looked, of the same size; None where that is not known.
    """

    subject: LabeledFace
    row: int
    truth: str
    guess: str
    probability: float
    of_truth: float
    crop: Pixels | None = None
    looked: Pixels | None = None

    @property
    def uri(self) -> str | None:
        """The crop, and where the model looked beside it, as a data URI; None without a picture."""
        if self.crop is None:
            return None
        buffer = io.BytesIO()
        Image.fromarray(_pair(self)).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def worst_mistakes(
    faces: Sequence[LabeledFace],
    rows: NDArray[np.integer],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
) -> list[Mistake]:
    """Return the 24 mistakes of the highest probability, the highest first; of equals the one of the first path.

    Args:
        faces: the faces.
        rows: their rows in the predictions, (N,).
        truth: their classes, (N,).
        probabilities: of the classes, (N, K).
        labels: the names of the classes.
    """
    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != truth).tolist()

    def order(index: int) -> tuple[float, str, int]:
        return -float(probabilities[index, guesses[index]]), faces[index].image.file_name, faces[index].face.id

    return [
        Mistake(
            faces[index],
            int(rows[index]),
            labels[truth[index]],
            labels[guesses[index]],
            float(probabilities[index, guesses[index]]),
            float(probabilities[index, truth[index]]),
        )
        for index in sorted(wrong, key=order)[:SHOWN]
    ]


def with_pictures(
    mistakes: Sequence[Mistake], pictures: Pictures, keypoint_names: Sequence[str], model: Classifier | None
) -> tuple[list[Mistake], list[tuple[str, str]]]:
    """Return the mistakes with their crops, and the pictures that cannot be shown with the reasons.

    Raises OtherPictureError when a picture is another one than the annotations describe.
    """
    result, failed = [], []
    for mistake in mistakes:
        name = mistake.subject.image.file_name
        try:
            data = pictures.read(name, mistake.subject.predicted.sha256)
            result.append(replace(mistake, crop=_crop(mistake, data, keypoint_names, model)))
        except OtherPictureError:
            raise
        except (ImageError, InputError) as error:
            failed.append((name, str(error)))
            result.append(mistake)
    return result, failed


def _crop(mistake: Mistake, data: bytes, keypoint_names: Sequence[str], model: Classifier | None) -> Pixels:
    rule, size = _SEEN, InputSize(height=_SIDE, width=_SIDE)
    if model is not None:
        rule, size = model.card.crop, model.card.input
    photo = Photo(data)
    points = eye_points(named_points(mistake.subject.face, keypoint_names))
    placement = place(photo.upright, mistake.subject.predicted.box, rule, size, points)
    return cut_placed(photo, placement, size, rule.min_decode)


def with_explanations(mistakes: Sequence[Mistake], predicted: Predictions, model: Classifier) -> list[Mistake]:
    """Return the mistakes with where the model looked; where its graph gives no feature map, the worst ones alone.

    A feature map takes one run of the model a face. Without it, parts of the face are covered, which takes many: the
    size of the model's input says how many mistakes that is done for, see `PIXELS`. It is done for what the model said;
    of several heads it is the one that is wrong, of several wrong ones the surest.
    """
    size = model.card.input
    most = SHOWN if model.card.features is not None else PIXELS // (RUNS * size.height * size.width)
    result = []
    for number, mistake in enumerate(mistakes):
        if mistake.crop is None or number >= most:
            result.append(mistake)
            continue
        if model.card.features is not None:
            values = activation(model, mistake.crop)
        else:
            values = occlusion(model, mistake.crop, *_blamed(mistake, predicted))
        result.append(replace(mistake, looked=overlay(mistake.crop, values)))
    if len(mistakes) > most:
        _log.warning(
            "%d of %d mistakes are shown without where the model looked: at %d x %d pixels, covering parts of a face "
            "takes too long; a model that is exported with `features` shows all",
            len(mistakes) - most, len(mistakes), size.height, size.width,
        )  # fmt: skip
    return result


def _blamed(mistake: Mistake, predicted: Predictions) -> tuple[str, str]:
    """Return the head and the label of a mistake."""
    said = {}
    for head in predicted.space.heads:
        values = predicted.heads[head.name][mistake.row]
        said[head.name] = head.labels[int(values.argmax())], float(values.max())
    true = mistake.truth.split("/") if len(said) > 1 else [mistake.truth]
    wrong = [name for name, (label, _) in said.items() if label not in true] or list(said)
    name = max(wrong, key=lambda one: said[one][1])
    return name, said[name][0]


def _pair(mistake: Mistake) -> Pixels:
    """Return the crop, and where the model looked at its right, in a height of 128 pixels."""
    parts = [part for part in (mistake.crop, mistake.looked) if part is not None]
    shown = []
    for part in parts:
        picture = Image.fromarray(part)
        width = max(1, round(picture.width * _SIDE / picture.height))
        shown.append(np.asarray(picture.resize((width, _SIDE), Image.Resampling.BILINEAR)))
    return np.concatenate(shown, axis=1)


def mistakes_sheet(mistakes: Sequence[Mistake]) -> Pixels:
    """Draw the pictures of mistakes in four columns, each above its truth, the guess and its probability.

    Returns uint8 RGB (H, W, 3); there must be at least one.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    pairs = [_pair(one) if one.crop is not None else None for one in mistakes]
    texts = [[f"is {one.truth}", f"got {one.guess}, {one.probability:.2f}"] for one in mistakes]
    widths = [_SIDE, *(pair.shape[1] for pair in pairs if pair is not None)]
    width = int(max(*widths, *(font.getlength(text) for lines in texts for text in lines)))
    columns, rows = min(_COLUMNS, len(mistakes)), -(-len(mistakes) // _COLUMNS)
    cell_width, cell_height = width + _GAP, _SIDE + 2 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (pair, lines) in enumerate(zip(pairs, texts, strict=True)):
        left, top = _GAP + number % _COLUMNS * cell_width, _GAP + number // _COLUMNS * cell_height
        if pair is None:
            pen.rectangle((left, top, left + _SIDE, top + _SIDE), outline="lightgray")
            pen.text((left + _SIDE / 2, top + _SIDE / 2), "not shown", fill="gray", font=font, anchor="mm")
        else:
            sheet.paste(Image.fromarray(pair), (left, top))
        for line, (text, color) in enumerate(zip(lines, ("black", "firebrick"), strict=True)):
            pen.text((left, top + _SIDE + 4 + line * _LINE), text, fill=color, font=font)
    return np.asarray(sheet)
