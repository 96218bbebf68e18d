"""Many viewers of one stream, in a process of their own: counts the pictures each of them gets."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

MARK = b"\r\n--frame\r\n"  # ends each part


class Viewer:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.socket.setblocking(False)
        self.pictures = 0
        self.tail = b""

    def read(self, buffer: bytearray) -> None:
        size = self.socket.recv_into(buffer)
        if not size:
            raise ConnectionError("the server ended the stream")
        # A mark may lie across two reads.
        seam = self.tail + bytes(buffer[: len(MARK) - 1])[:size]
        self.pictures += buffer.count(MARK, 0, size) + seam.count(MARK)
        self.tail = (self.tail + bytes(buffer[max(0, size - len(MARK) + 1) : size]))[-(len(MARK) - 1) :]


def watch(port: int, count: int, seconds: float, settle_s: float = 2.0) -> list[float]:
    """Pictures a second that each viewer got, after a time to settle."""
    viewers = [Viewer(port) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for viewer in viewers:
        selector.register(viewer.socket, selectors.EVENT_READ, viewer)
    buffer = bytearray(1 << 18)

    def read_until(until_s: float) -> None:
        while (left_s := until_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                key.data.read(buffer)

    started_s = time.monotonic()
    read_until(started_s + settle_s)
    before = [viewer.pictures for viewer in viewers]
    from_s = time.monotonic()
    read_until(from_s + seconds)
    took_s = time.monotonic() - from_s
    rates = [(viewer.pictures - had) / took_s for viewer, had in zip(viewers, before, strict=True)]
    for viewer in viewers:
        viewer.socket.close()
    return rates


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
