"""What the handlers read from a request: the server's state, the model it names, its body and its multipart form."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.inference import MAX_FILES
from serving.server.lanes import BusyError
from serving.server.limits import MIB
from serving.server.state import ServerState

MAX_FIELDS = 256

# A form is parsed in pieces of this many bytes, so that other requests are answered in between.
_FORM_PIECE = 2**16

# A client that is still sending rarely reads an answer, so a body above the limit is read on for a while.
_DISCARDED_BYTES = 64 * 2**20


# An answer that takes less is not watched for a client that leaves.
_UNWATCHED_S = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: its files as (file name, content) and the values of its `box` fields, in order."""

    files: tuple[tuple[str, bytes], ...]
    boxes: tuple[str, ...]


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _write_json(value: Any, work: Work) -> Response:
    return json_response(value)


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


@asynccontextmanager
async def receive_body(request: Request) -> AsyncIterator[bytes]:
    """Read a whole request body, and count it as held until the context ends.

    Raises:
        HTTPException: 413 when it is larger than the server's limit, with or without a Content-Length; 415 when it is
            compressed.
        BusyError: too many requests wait already, or all bodies together are too large.
    """
    state, headers = state_of(request), request.headers
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        text = f"bodies with Content-Encoding {encoding[:20]!r} are not read; send it uncompressed, without that header"
        raise HTTPException(415, text, headers={"Accept-Encoding": "identity"})
    state.lanes.check_queue()
    held = 0
    try:
        chunks: list[bytes] = []
        async for chunk in _received(request, state.limits.max_body):
            chunks.append(chunk)
            held += len(chunk)
            state.body_bytes += len(chunk)
            if state.body_bytes > state.limits.body_memory:
                raise BusyError("the server is busy: it receives too many bytes at once; try again soon")
        body = b"".join(chunks)
        chunks.clear()
        yield body
    finally:
        state.body_bytes -= held


async def _received(request: Request, limit: int) -> AsyncIterator[bytes]:
    declared = int(request.headers.get("content-length", 0))
    if declared > limit and "expect" in request.headers:
        raise _too_large(limit)  # the client waits for the permission to send
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if max(total, declared) <= limit:
            yield chunk
        elif total > limit + _DISCARDED_BYTES:
            break
    if max(total, declared) > limit:
        raise _too_large(limit)


async def compute(
    request: Request,
    function: Callable[[Work], T],
    model: Predictor,
    rows: int = 1,
    write: Callable[[T, Work], Response] = _write_json,
    *,
    deadline: float = math.inf,
    priority: int = 0,
) -> Response:
    """Call a function in a lane and return what `write` makes of its result, there too; stop when the client leaves.

    `rows` is the number of images that the model sees; `deadline` and `priority` are those of `Lanes.run`.

    Raises:
        ClientDisconnect: the client has left.
        BusyError: no lane became free, see `Lanes.run`.
        DeadlineError: none before the deadline.
    """

    def respond(work: Work) -> Response:
        # The lane writes the answer too: large ones must not hold up others.
        result = function(work)
        with work.output():
            return write(result, work)

    with _while_connected(request):
        return await state_of(request).lanes.run(respond, model, rows, deadline=deadline, priority=priority)


@contextmanager
def _while_connected(request: Request) -> Iterator[None]:
    """Cancel the task within the block when the client leaves, and raise ClientDisconnect then.

    Most answers are there before anything needs to look for that, so a task that does begins a little later.
    """
    task, loop, gone = asyncio.current_task(), asyncio.get_running_loop(), False
    assert task is not None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watching: asyncio.Task[None] | None = None

    def begin() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    timer = loop.call_later(_UNWATCHED_S, begin)
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


async def read_form(request: Request, body: bytes) -> Form:
    """Parse a multipart/form-data body; parts with a file name are files, whatever their field is called.

    Raises:
        InputError: the form is broken, cut short, or has too many parts.
    """
    parser = _Parser(request.headers, _pieces(body), max_files=MAX_FILES, max_fields=MAX_FIELDS)
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


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _FORM_PIECE):
        yield body[start : start + _FORM_PIECE]
        await asyncio.sleep(0)


def _too_large(limit: int) -> HTTPException:
    text = (
        f"the request body is larger than {limit} bytes ({limit / MIB:g} MiB); send smaller pictures or fewer at once"
    )
    text += ", or have the server started with a larger --max-body-mib"
    return HTTPException(413, text, headers={"Connection": "close"})
