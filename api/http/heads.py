"""Heads of requests that are refused before any route: what h11 lets through, and words for all of it."""

from __future__ import annotations

import re
import secrets

import h11

from api.http.problems import CONTENT_TYPE, Problem

HEADER_BYTES = 16_384
HEADER_COUNT = 100
TARGET_BYTES = 8_192
_HOST = re.compile(rb"[^\s/@?#\\]*")

_WORDS = {
    400: ("malformed_head", "the request line or a header is not valid HTTP/1.1, or the body is not as announced"),
    414: ("target_too_long", f"the request line asks for more than {TARGET_BYTES} bytes of path and query"),
    431: ("headers_too_large", f"at most {HEADER_COUNT} headers and {HEADER_BYTES} bytes of them are read"),
    501: (
        "not_implemented",
        "methods are in upper case, and of transfer encodings only chunked is understood",
    ),
    505: ("http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"),
}


def refused(request: h11.Request) -> int | None:
    """The status of a refusal, None when the head of the request is in order."""
    if request.http_version not in (b"1.0", b"1.1"):
        return 505
    if len(request.target) > TARGET_BYTES:
        return 414
    if not request.method.isupper():
        return 501
    headers = list(request.headers)
    if len(headers) > HEADER_COUNT or sum(len(name) + len(value) + 4 for name, value in headers) > HEADER_BYTES:
        return 431
    names = {name for name, _ in headers}
    if b"content-length" in names and b"transfer-encoding" in names:
        return 400
    return None if all(name != b"host" or _HOST.fullmatch(value) for name, value in headers) else 400


def refusal(status: int, *, bodiless: bool) -> list[h11.Response | h11.Data | h11.EndOfMessage]:
    """The whole answer; the connection ends with it. `bodiless`: to a HEAD."""
    code, detail = _WORDS.get(status, _WORDS[400])
    request_id = secrets.token_hex(8)
    body = Problem(status=status, code=code, detail=detail).body(request_id)
    headers = [
        ("content-type", CONTENT_TYPE),
        ("content-length", str(len(body))),
        ("x-request-id", request_id),
        ("connection", "close"),
    ]
    answer: list[h11.Response | h11.Data | h11.EndOfMessage] = [h11.Response(status_code=status, headers=headers)]
    if not bodiless:
        answer.append(h11.Data(data=body))
    return [*answer, h11.EndOfMessage()]
