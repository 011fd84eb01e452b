"""A repository in Triton's layout: `<model>/<version>/model.onnx`, in a folder or below a prefix in S3."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from serving.runtime.composite_card import COMPOSITE_FILE
from serving.runtime.errors import InputError
from serving.runtime.load import read_model
from serving.runtime.registry import Fingerprint, fingerprint_of
from serving.runtime.storage import Entry, Location
from serving.server.repository.config import ModelConfig, read_config
from serving.server.repository.source import FoundModel, FoundVersion

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"

# Triton passes over other folders too, also those with a leading zero.
_VERSION = re.compile(r"[1-9][0-9]*")

# What ext4 has at the top of a volume.
_NO_MODEL = "lost+found"


class Repository:
    """The models in a folder or S3 prefix, each served under the name of its folder.

    A version is a folder with a number, and holds what `load_model` reads from a folder: `model.onnx`, or the
    `composite.json` of a composite. The newest version that can be loaded is served, or those that `version_policy` in
    the model's `config.pbtxt` says. A `labels.txt` beside it must say what the card says. Names that begin with a dot
    are passed over; so is a folder that looks like a version and is none, which is said.
    """

    single = False

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._location = Location(uri)
        # What the configuration of each model said when it had this fingerprint.
        self._configs: dict[str, tuple[Fingerprint, ModelConfig, Mapping[str, tuple[str, str]]]] = {}

    def look(self) -> list[FoundModel]:
        """See `Source`; one listing, and the small files that have changed."""
        entries = self._location.list()
        by_model: dict[str, list[Entry]] = {}
        for entry in entries:
            model, slash, _ = entry.path.partition("/")
            if slash and not model.startswith("."):
                by_model.setdefault(model, []).append(entry)
        if entries and not by_model:
            raise InputError(
                f"{self.uri} is no repository: it has no <model>/<version>/model.onnx; one model is given with --model"
            )
        folders = self._folders()
        for model in folders:
            by_model.setdefault(model, [])
        self._configs = {model: known for model, known in self._configs.items() if model in by_model}
        return [self._model(model, files, folders.get(model, ())) for model, files in sorted(by_model.items())]

    def _folders(self) -> dict[str, list[str]]:
        """Return the folders in the repository and those in each, also empty ones, which only a disk has."""
        if self._location.bucket:
            return {}
        top = self._location.folder
        models = [one.name for one in top.glob("*/") if not one.name.startswith(".") and one.name != _NO_MODEL]
        return {model: [one.name for one in (top / model).glob("*/")] for model in models}

    def _model(self, model: str, entries: Sequence[Entry], folders: Sequence[str]) -> FoundModel:
        by_folder: dict[str, list[Entry]] = {}
        own: list[Entry] = []
        for entry in entries:
            version, slash, _ = entry.path.removeprefix(f"{model}/").partition("/")
            if not slash:
                own.append(entry)
            else:
                by_folder.setdefault(version, []).append(entry)
        versions = {version: files for version, files in by_folder.items() if _VERSION.fullmatch(version)}
        address = f"{self.uri.rstrip('/')}/{model}"
        passed_over = {
            folder: f"{address}/{folder} {reason}"
            for folder in sorted({*by_folder, *folders})
            if (reason := _passed_over(folder, by_folder.get(folder, ()), versions))
        }
        if not entries and not passed_over:
            passed_over[""] = f"{address} is empty; expected a folder such as 1 with model.onnx"
        try:
            about, config, labels = self._configuration(model, own)
        except InputError as error:
            return FoundModel(model, (), fault=str(error), passed_over=passed_over)
        wanted = sorted(versions, key=int, reverse=True)
        if config.specific:
            wanted = sorted(config.specific, key=int, reverse=True)
        if not wanted:
            fault = f"{address} has no version: expected a folder such as 1 with model.onnx" if entries else ""
            return FoundModel(model, (), fault=fault, passed_over=passed_over)
        found = []
        for version in wanted:
            uri = self._location.join(f"{model}/{version}").uri
            read = partial(read_model, f"{uri}/{config.file}" if config.file else uri)
            files = fingerprint_of(self._location, versions.get(version, []))
            found.append(FoundVersion(version, (about, files), read, labels))
        passed_over = {folder: reason for folder, reason in passed_over.items() if folder not in wanted}
        return FoundModel(model, found, config.latest, passed_over=passed_over)

    def _configuration(
        self, model: str, entries: Sequence[Entry]
    ) -> tuple[Fingerprint, ModelConfig, Mapping[str, tuple[str, str]]]:
        """Return the fingerprint of a model's own files, what `config.pbtxt` says, and its files of labels."""
        known = self._configs.get(model)
        about = fingerprint_of(self._location, list(entries))
        if known and known[0] == about:
            return known
        folder = self._location.join(model)
        names = {entry.path.rpartition("/")[2] for entry in entries}
        config = ModelConfig()
        if CONFIG_FILE in names:
            config = read_config(_text(folder, CONFIG_FILE), model, f"{folder.uri}/{CONFIG_FILE}")
        files = dict(config.labels)
        if LABELS_FILE in names and LABELS_FILE not in files.values():
            files[""] = LABELS_FILE
        labels = {output: (f"{folder.uri}/{file}", _text(folder, file)) for output, file in files.items()}
        self._configs[model] = about, config, labels
        return self._configs[model]


def _passed_over(folder: str, entries: Sequence[Entry], versions: Iterable[str]) -> str:
    """Return why a folder of a model is not served although it looks like a version; "" where it does not, or is."""
    if _VERSION.fullmatch(folder):
        newest = max(map(int, versions), default=0)
        return "is empty; expected model.onnx in it" if not entries and int(folder) > newest else ""
    files = {entry.path.split("/", 2)[2] for entry in entries}
    has_model = any("/" not in file and (file.endswith(".onnx") or file == COMPOSITE_FILE) for file in files)
    if folder.startswith(".") or not (has_model or (folder.isascii() and folder.isdecimal())):
        return ""
    return "is no version; expected a number without leading zeros, such as 1"


def holds_one_model(folder: str) -> bool:
    """Tell whether a folder holds the files of one model, and not a repository."""
    return any(
        "/" not in entry.path and (entry.path.endswith(".onnx") or entry.path == COMPOSITE_FILE)
        for entry in Location(folder).list()
    )


def _text(folder: Location, file: str) -> str:
    try:
        return folder.read(file).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{folder.uri}/{file}: not UTF-8: {error}") from error
