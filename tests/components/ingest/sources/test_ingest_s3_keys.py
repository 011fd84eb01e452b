"""Keys that are no paths: empty parts, slashes in front and at the end. rclone's server cannot hold them."""

import io
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pytest
from loopback_server import running
from source_trees import contents, picture

from components.ingest.ingest import ingest
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import read_annotations


class Bucket(BaseHTTPRequestHandler):
    """A bucket that is listed and read by its keys alone, as S3 itself does it."""

    objects: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        key = unquote(address.path.removeprefix("/raw").removeprefix("/"))
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            return self._answer(200, self._listing(prefix))
        content = self.objects.get(key)
        if content is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if "Range" not in self.headers:
            return self._answer(200, content)
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        return self._answer(206, content[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(content)}"})

    def _listing(self, prefix):
        items = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(content)}</Size><ETag>&quot;e&quot;</ETag></Contents>"
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>raw</Name>'
            f"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        ).encode()

    def _answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def bucket(monkeypatch):
    """Serve a mapping of keys to contents as the bucket `raw`."""
    handler = type("Handler", (Bucket,), {"objects": {}})
    with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield handler.objects


def packed(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


KEYS = {
    "set/cat/1.jpg": "cat/1.jpg",
    "set//cat/2.jpg": "cat/2.jpg",
    "set/cat//3.jpg": "cat/3.jpg",
    "set///cat///4.jpg": "cat/4.jpg",
    "set/cat/./5.jpg": "cat/5.jpg",
    "set/cat/6.jpg/": "cat/6.jpg",
    "set/cat/7 +%2F?.jpg": "cat/7 +%2F?.jpg",
    "set//cat/packed.zip": "cat/packed/8.jpg",
}
MARKERS = ["set/", "set//", "set/cat/", "set/cat//", "set/empty/"]


@pytest.mark.parametrize("prefix", ["set", "set/", "set//"])
def test_keys_with_slashes_anywhere_are_listed_and_read(bucket, prefix):
    for number, key in enumerate(KEYS):
        content = picture(number)
        bucket[key] = packed({"8.jpg": content}) if key.endswith(".zip") else content
    bucket.update(dict.fromkeys(MARKERS, b""))
    source = Source(f"s3://raw/{prefix}")
    assert contents(source) == {path: picture(number) for number, path in enumerate(KEYS.values())}
    assert source.dropped.counts == source.skipped.counts == {}


def test_keys_that_begin_with_a_slash(bucket):
    bucket.update({"/cat/1.jpg": picture(1), "//cat/2.jpg": picture(2), "/": b"", "cat/3.jpg": picture(3)})
    expected = {f"cat/{number}.jpg": picture(number) for number in (1, 2, 3)}
    assert contents(Source("s3://raw")) == contents(Source("s3://raw/")) == expected
    del expected["cat/3.jpg"], expected["cat/2.jpg"]
    assert contents(Source("s3://raw//cat")) == {"1.jpg": picture(1)}


def test_two_keys_of_one_name_are_counted(bucket):
    bucket.update({"cat/1.jpg": picture(1), "/cat/1.jpg": picture(1) + b"more", "cat//1.jpg": picture(1)})
    source = Source("s3://raw")
    assert len(contents(source)) == 1
    assert source.dropped.total + source.skipped.total == 2


def test_ingest_of_odd_keys(bucket, tmp_path):
    pixels = {
        f"set/{slashes}cat{slashes}/{number}.jpg": picture(number) for number, slashes in enumerate(("", "/", "//"))
    }
    bucket.update(pixels)
    options = {"folders": "<class>"}
    ingest("s3://raw/set", tmp_path / "images", tmp_path / "a.json", format="class_folder", options=options)
    data = read_annotations(tmp_path / "a.json")
    assert [image.file_name for image in data.images] == ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg"]
    assert [image.faces[0].attributes for image in data.images] == [{"label": "cat"}] * 3
    assert np.unique([image.sha256 for image in data.images]).size == 3
