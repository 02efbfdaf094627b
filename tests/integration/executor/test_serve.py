"""A handler's own HTTP server, reached over its unix socket."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import httpx
import pytest
import wsproto
from wsproto.events import AcceptConnection, Request, TextMessage

from callboard.executor.frames import Serving
from callboard.executor.outcomes import Outcome
from tests.integration.executor.conftest import Node, Start


def serving(node: Node) -> tuple[int, str]:
    (id,) = node.run("site", {})
    frame = node.wait_for(Serving)
    assert (frame.id, frame.attempt) == (id, 1)
    return id, frame.path


def client(path: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://task", timeout=5, trust_env=False)


def test_the_app_is_reachable_and_its_folder_private(start: Start) -> None:
    node = start()
    _, path = serving(node)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    with client(path) as http:
        assert http.post("/echo", content=b"body").text == "/echo body"
        with http.stream("GET", "/stream") as response:
            chunks = response.iter_raw()
            assert b"".join(next(chunks) for _ in range(3)).startswith(b"x" * 100)


def test_websockets_work(start: Start) -> None:
    node = start()
    _, path = serving(node)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        talk = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        connection.sendall(talk.send(Request(host="task", target="/")))
        events: list[object] = []
        while not any(isinstance(event, AcceptConnection) for event in events):
            talk.receive_data(connection.recv(4096))
            events += talk.events()
        connection.sendall(talk.send(TextMessage("hello")))
        while not any(isinstance(event, TextMessage) for event in events):
            talk.receive_data(connection.recv(4096))
            events += talk.events()
    assert [event.data for event in events if isinstance(event, TextMessage)] == ["HELLO"]


@pytest.mark.parametrize("open_request", ["none", "/stream", "/flood"])
def test_a_cancel_ends_it_in_bounded_time_and_leaves_nothing(start: Start, tmp_path: Path, open_request: str) -> None:
    mark = tmp_path / "mark"
    node = start(environ={"CALLBOARD_TEST_MARK": str(mark)})
    id, path = serving(node)
    with socket.socket(socket.AF_UNIX) as slow:  # asks, and reads nothing: sends to it block
        slow.connect(path)
        if open_request != "none":
            slow.sendall(f"GET {open_request} HTTP/1.1\r\nHost: task\r\n\r\n".encode())
            time.sleep(0.3)
        began = time.monotonic()
        node.stop(id)
        assert node.end(id).seen == (Outcome.CANCELLED, "Cancelled")
        assert time.monotonic() - began < 2
    assert node.of(Serving)[-1].path == ""
    assert mark.read_text() == "shut down"
    assert not os.path.exists(os.path.dirname(path))


def test_a_handler_may_end_it_and_go_on(start: Start, tmp_path: Path) -> None:
    node = start()
    (id,) = node.run("site", {"until": str(tmp_path / "end")})
    node.wait_for(Serving)
    (tmp_path / "end").touch()
    assert (node.end(id).kind, node.end(id).body) == (Outcome.SUCCEEDED, "closed")
    assert [bool(frame.path) for frame in node.of(Serving)] == [True, False]


def test_several_attempts_serve_at_once(start: Start) -> None:
    node = start()
    paths = {serving(node)[1]}
    (second,) = node.run("site", {})
    node.wait_for(Serving, 2)
    paths |= {frame.path for frame in node.of(Serving) if frame.id == second}
    assert len(paths) == 2
    for path in paths:
        with client(path) as http:
            assert http.get("/here").text == "/here "
