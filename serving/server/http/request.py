"""What the handlers read from a request: the server's state, the model it names, its body and its multipart form."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.runtime.errors import InputError
from serving.runtime.predictor import Predictor
from serving.server.state import ServerState

MAX_FILES = 64
MAX_FIELDS = 256

# A client that is still sending rarely reads an answer, so a body above the limit is read on for a while.
_DISCARDED_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: its files as (file name, content) and the values of its `box` fields, in order."""

    files: tuple[tuple[str, bytes], ...]
    boxes: tuple[str, ...]


def state_of(request: Request) -> ServerState:
    """Return the state of the server that a request came to."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state


def model_of(request: Request) -> Predictor:
    """Return the model of the path, or of the query parameters `model` and `version`; by default the default model.

    Raises as `ModelRepository.get`.
    """
    named = request.path_params or request.query_params
    return state_of(request).models.get(named.get("model", ""), named.get("version", ""))


async def read_body(request: Request) -> bytes:
    """Read a whole request body.

    Raises:
        HTTPException: 413 when it is larger than the server's limit, with or without a Content-Length.
    """
    limit = state_of(request).max_body
    declared = int(request.headers.get("content-length", 0))
    if declared > limit and "expect" in request.headers:
        raise _too_large(limit)  # the client waits for the permission to send
    chunks: list[bytes] = []
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if max(total, declared) <= limit:
            chunks.append(chunk)
        elif total > limit + _DISCARDED_BYTES:
            break
    if max(total, declared) > limit:
        raise _too_large(limit)
    return b"".join(chunks)


async def read_form(request: Request, body: bytes) -> Form:
    """Parse a multipart/form-data body; parts with a file name are files, whatever their field is called.

    Raises:
        InputError: the form is broken, cut short, or has too many parts.
    """
    parser = _Parser(request.headers, _once(body), max_files=MAX_FILES, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError, LookupError) as error:
        raise InputError(f"the multipart form cannot be read: {getattr(error, 'message', error)}") from error
    try:
        if not parser.complete:
            raise InputError("the multipart form is cut short: its closing boundary is missing")
        files: list[tuple[str, bytes]] = []
        boxes: list[str] = []
        for field, value in form.multi_items():
            if not isinstance(value, str):
                files.append((value.filename or field, await value.read()))
            elif field == "box":
                boxes.append(value)
            else:
                raise InputError(f"the form field '{field}' is unknown; expected image files and 'box'")
        return Form(tuple(files), tuple(boxes))
    finally:
        await form.close()


class _Parser(MultiPartParser):
    # The body is in memory already and limited, so its parts need no temporary files.
    spool_max_size = 2**62
    complete = False

    def on_end(self) -> None:
        self.complete = True


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the request body is larger than {limit} bytes", headers={"Connection": "close"})
