"""HTTP/2 by hand: calls that no gRPC client makes, whose messages come in part or not at all."""

import socket
import struct
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_CHUNK = 16384


class Http2Connection:
    """A connection to a gRPC server.

    Attributes:
        sent: of each call that has no answer yet, how many bytes of its message the server took.
    """

    def __init__(self, port: int) -> None:
        self.sent: dict[int, int] = {}
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        self._received = b""
        self._initial = self._window = 65535
        self._windows: dict[int, int] = {}

    def close(self) -> None:
        self._socket.close()

    def call(self, path: str) -> None:
        """Begin with a call; its message is for `pump`."""
        stream = 2 * len(self._windows) + 1
        names = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers",
                 "content-type": "application/grpc"}  # fmt: skip
        literal = b"".join(b"\0" + _text(name) + _text(value) for name, value in names.items())
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, literal))
        self._windows[stream], self.sent[stream] = self._initial, 0

    def pump(self, size: int, seconds: float) -> int:
        """Send as much as the server takes of messages of `size` bytes but their last one; return the most it held.

        Of messages of 0 bytes nothing is sent.
        """
        self._socket.settimeout(0.01)
        most, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for stream, sent in list(self.sent.items()):
                room = min(_CHUNK, self._window, self._windows[stream], size + 4 - sent if size else 0)
                if room > (0 if sent else 5):
                    head = struct.pack(">BI", 0, size) if not sent else b""
                    self._send(_frame(_DATA, 0, stream, head + bytes(room - len(head))))
                    self._window -= room
                    self._windows[stream] -= room
                    self.sent[stream] += room
            most = max(most, sum(self.sent.values()))
            self._read()
        return most

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(10)
        self._socket.sendall(data)
        self._socket.settimeout(0.01)

    def _read(self) -> None:
        try:
            self._received += self._socket.recv(2**16)
        except TimeoutError:
            return
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
            body, self._received = self._received[9 : 9 + length], self._received[9 + length :]
            if kind == _SETTINGS and not flags & _ACK:
                for number, value in struct.iter_unpack(">HI", body):
                    if number == 4:
                        self._windows = {one: left + value - self._initial for one, left in self._windows.items()}
                        self._initial = value
                self._send(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._send(_frame(_PING, _ACK, 0, body))
            elif kind == _WINDOW_UPDATE:
                more = int.from_bytes(body, "big")
                if stream:
                    self._windows[stream] += more
                else:
                    self._window += more
            elif kind == _RST or (kind in (_HEADERS, _DATA) and flags & _END_STREAM):
                self.sent.pop(stream, None)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()
