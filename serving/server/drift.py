"""What the served classifiers see and say, and how far that is from their test split, as metrics."""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from serving.runtime.composite import Composite
from serving.runtime.image.placement import Box
from serving.runtime.predictor import Classifier, FaceResult, Predictor
from serving.runtime.reference import BRIGHTNESS, CONFIDENCE, FACE_SIDE, Histogram, Reference, population_stability

# A face counts half as much when so many others have come after it.
HALF_LIFE = 500
# Faces, those of long ago counted less, before a distance from the test split is worth telling.
LEAST_FACES = 100

_DECAY = 0.5 ** (1 / HALF_LIFE)


class _Counts:
    """Values counted by bin: all of them, and with those of long ago counted less."""

    def __init__(self, bins: Iterable[str]) -> None:
        self.total = dict.fromkeys(bins, 0)
        self.recent = dict.fromkeys(self.total, 0.0)
        self.sum = 0.0

    def add(self, bin_: str, value: float = 0.0) -> None:
        for name in self.recent:
            self.recent[name] *= _DECAY
        self.total[bin_] += 1
        self.recent[bin_] += 1
        self.sum += value

    def distance(self, expected: Mapping[str, float]) -> float | None:
        """Return the population stability index from expected counts; None while too few faces were seen."""
        if sum(self.recent.values()) < LEAST_FACES:
            return None
        return population_stability([expected.get(name, 0) for name in self.recent], list(self.recent.values()))


class _Numbers(_Counts):
    """Numbers counted between bounds; a bin is called by its upper bound, as Prometheus does."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._bins = [*map(repr, bounds), "+Inf"]
        super().__init__(self._bins)

    def add_number(self, value: float) -> None:
        self.add(self._bins[bisect_right(self._bounds, value)], value)

    def distance_from(self, expected: Histogram | None) -> float | None:
        """Return `distance`; None too where nothing, or nothing in the same bins, is known of the test split."""
        if expected is None or expected.bounds != tuple(self._bounds):
            return None
        return self.distance(dict(zip(self._bins, expected.counts, strict=True)))

    def buckets(self) -> list[tuple[str, float]]:
        """Return Prometheus' cumulative buckets."""
        below, cumulative = 0, []
        for name, count in self.total.items():
            below += count
            cumulative.append((name, float(below)))
        return cumulative


class _Seen:
    """What one file of a classifier has seen and said."""

    def __init__(self, model: Classifier) -> None:
        self.brightness = _Numbers(BRIGHTNESS)
        self.face_side = _Numbers(FACE_SIDE)
        self.confidence = {head.name: _Numbers(CONFIDENCE) for head in model.card.heads}
        self.labels = {head.name: _Counts(head.labels) for head in model.card.heads}

    def add(self, face: FaceResult, size: tuple[int, int]) -> None:
        for head, labels in self.labels.items():
            probabilities = face.heads[head]
            label = max(probabilities, key=probabilities.__getitem__)
            labels.add(label)
            self.confidence[head].add_number(probabilities[label])
        self.brightness.add_number(face.brightness[next(iter(self.labels))])
        if face.box is not None and (side := _visible_side(face.box, size)):
            self.face_side.add_number(side)

    def distances(self, known: Reference) -> Iterator[tuple[str, str, float | None]]:
        """Yield feature, head ("" for none) and distance from the test split."""
        yield "brightness", "", self.brightness.distance_from(known.brightness)
        yield "face_side", "", self.face_side.distance_from(known.face_side)
        for head in self.labels.keys() & known.heads.keys():
            yield "labels", head, self.labels[head].distance(known.heads[head].labels)
            yield "confidence", head, self.confidence[head].distance_from(known.heads[head].confidence)


class Drift:
    """The faces that the loaded classifiers have seen, by model and version; a collector of Prometheus.

    Several threads may use it at once.

    Args:
        loaded: gives the loaded models; what others have seen is forgotten. A version whose file is replaced begins
            anew; with another `reference.json` it keeps its counts.
    """

    def __init__(self, loaded: Callable[[], Iterable[Predictor]]) -> None:
        self._loaded = loaded
        # By name, version and digest of the file: files may be replaced within a version.
        self._seen: dict[tuple[str, str, str], _Seen] = {}
        self._lock = threading.Lock()

    def observe(self, model: Predictor, faces: Iterable[FaceResult], size: tuple[int, int]) -> None:
        """Count faces of an answer; those of a composite for each of its classifiers, those of a detector not.

        `size` is height and width in pixels of the upright photo.
        """
        classifiers = _classifiers(model)
        with self._lock:
            for face in faces:
                for classifier in classifiers:
                    key = _key(classifier)
                    if key not in self._seen:
                        self._seen[key] = _Seen(classifier)
                    self._seen[key].add(face, size)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as Prometheus' registry asks for them."""
        model = ["model", "version"]
        brightness = HistogramMetricFamily(
            "facet_face_brightness", "Mean luma, 0 to 255, of what a model saw", labels=model
        )
        side = HistogramMetricFamily(
            "facet_face_side_pixels", "Root of the area of a box inside the photo", labels=model
        )
        confidence = HistogramMetricFamily(
            "facet_confidence", "Probability of the most probable label", labels=[*model, "head"]
        )
        labels = CounterMetricFamily("facet_labels", "Faces by most probable label", labels=[*model, "head", "label"])
        drift = GaugeMetricFamily(
            "facet_drift",
            "Population stability index of recent faces against the test split: 0.1 is a change, 0.25 a large one",
            labels=[*model, "feature", "head"],
        )
        loaded: dict[tuple[str, str], Classifier] = {}
        for classifier in (classifier for one in self._loaded() for classifier in _classifiers(one)):
            loaded.setdefault((classifier.name, classifier.version), classifier)
        with self._lock:
            known = {_key(classifier) for classifier in loaded.values()}
            self._seen = {key: seen for key, seen in self._seen.items() if key in known}
            for (name, version, _), seen in self._seen.items():
                key = name, version
                brightness.add_metric(key, seen.brightness.buckets(), seen.brightness.sum)
                side.add_metric(key, seen.face_side.buckets(), seen.face_side.sum)
                for head, numbers in seen.confidence.items():
                    confidence.add_metric((*key, head), numbers.buckets(), numbers.sum)
                for head, counts in seen.labels.items():
                    for label, count in counts.total.items():
                        labels.add_metric((*key, head, label), count)
                reference = loaded[name, version].reference
                for feature, head, distance in seen.distances(reference) if reference else ():
                    if distance is not None:
                        drift.add_metric((*key, feature, head), distance)
        yield from (brightness, side, confidence, labels, drift)


def _classifiers(model: Predictor) -> list[Classifier]:
    members = model.members if isinstance(model, Composite) else (model,)
    return [member for member in members if isinstance(member, Classifier)]


def _key(model: Classifier) -> tuple[str, str, str]:
    return model.name, model.version, model.sha256


def _visible_side(box: Box, size: tuple[int, int]) -> float:
    """Return the root of the area that a box (x, y, width, height) has inside a photo; 0 where it is outside."""
    (x, y, width, height), (rows, columns) = box, size
    wide = min(x + width, columns) - max(x, 0.0)
    high = min(y + height, rows) - max(y, 0.0)
    return float((max(wide, 0.0) * max(high, 0.0)) ** 0.5)
