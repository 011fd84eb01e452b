"""Prints the faces in photos: API_KEY=... python client.py http://localhost:8080 PHOTO..."""

import json
import os
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen


def predict(server: str, photo: Path, tries: int = 5) -> dict:
    """Return the answer about a photo; waits while the server is busy or not ready."""
    headers = {"Content-Type": "application/octet-stream"}
    if key := os.environ.get("API_KEY"):
        headers["X-API-Key"] = key
    for left in reversed(range(tries)):
        try:
            with urlopen(Request(f"{server}/predict", photo.read_bytes(), headers), timeout=30) as response:
                return json.load(response)
        except HTTPError as error:
            if error.code != 503 or not left:  # busy or not ready: Retry-After says for how long
                raise SystemExit(f"{photo}: {json.load(error)['error']}") from None
            time.sleep(int(error.headers["Retry-After"]))
        except URLError as error:
            raise SystemExit(f"{server} does not answer: {error.reason}") from None


for photo in map(Path, sys.argv[2:]):
    faces = predict(sys.argv[1], photo)["faces"]
    print(f"{photo}: {len(faces)} faces")
    for face in faces:
        labels = {name: (head["label"], round(head["score"], 3)) for name, head in face["heads"].items()}
        print(" ", face["box"], labels, "NOTICE" if face.get("notify") else "")
