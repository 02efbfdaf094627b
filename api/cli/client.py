"""Calls to the HTTP API: where it is, and what its answers mean for a command."""

from __future__ import annotations

from typing import Any

import httpx

from api.cli.exits import BAD_DATA, FAILED, NOT_ALLOWED, TRY_AGAIN, UNAVAILABLE, CommandFailed
from api.settings import Settings
from api.settings_keys import mask
from api.up import read_address_file

DEFAULT_URL = "http://127.0.0.1:8080"
ANSWER_BYTES = 512 << 20  # a page of a thousand tasks with large arguments and results
_CODES = {400: BAD_DATA, 401: NOT_ALLOWED, 403: NOT_ALLOWED, 413: BAD_DATA, 422: BAD_DATA, 429: TRY_AGAIN}


class Client:
    """The API of one system. Every method raises CommandFailed with a message for a person.

    `limit` is seconds that an answer may take.
    """

    def __init__(self, settings: Settings, limit: float = 75) -> None:
        url = api_url(settings)
        self.url = mask(url)  # as it is shown
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        # No proxy of the environment: the API is our own, and mostly on this machine.
        self._http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=limit, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._call("POST", path, json=body, headers=headers)

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            with self._http.stream(method, path, **options) as answer:
                response = httpx.Response(answer.status_code, content=self._read(answer))
        except httpx.ConnectError:
            raise CommandFailed(
                f"no Callboard answers ({self.url}): start it with `callboard up`, or name its address with --url",
                UNAVAILABLE,
            ) from None
        except httpx.HTTPError as error:
            detail = str(error) or type(error).__name__
            raise CommandFailed(f"the connection failed ({self.url}): {detail}", UNAVAILABLE, doubt=True) from None
        if response.is_success:
            return _decoded(response, self.url)
        raise CommandFailed(explain(response, path), _code(response.status_code), response.status_code)

    def _read(self, answer: httpx.Response) -> bytes:
        """The whole body, but not without end: what answers may be anything."""
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > ANSWER_BYTES:
                raise CommandFailed(
                    f"the answer has more than {ANSWER_BYTES >> 20} MiB ({self.url}): ask for less, with --limit, or "
                    "is this a Callboard api?",
                    UNAVAILABLE,
                )
        return bytes(body)


def api_url(settings: Settings) -> str:
    """The given address, else that of the `callboard up` that runs with this data folder, else the default."""
    found = None if settings.api_url else read_address_file(settings.data)
    return settings.api_url or (str(found["url"]) if found else DEFAULT_URL)


def _decoded(response: httpx.Response, url: str) -> Any:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CommandFailed(f"the answer is no JSON object ({url}): is this a Callboard api?", UNAVAILABLE)
    return value


def explain(response: httpx.Response, path: str) -> str:
    """One line from a problem document; the status where there is none."""
    try:
        problem = response.json()
        detail = problem.get("detail") or problem.get("title") or response.reason_phrase
        errors = problem.get("errors") or []
        parts = [f"{one['field']}: {one.get('detail')}" if one.get("field") else one.get("detail") for one in errors]
    except (ValueError, AttributeError):
        detail, parts = response.reason_phrase, []
    hint = "; set CALLBOARD_TOKEN to the token of this system" if response.status_code == 401 else ""
    parts = [part for part in parts if part not in detail]
    listed = f": {'; '.join(parts)}" if parts else ""
    return f"{detail} ({path}, status {response.status_code}){listed}{hint}".replace("\n", " ")


def _code(status: int) -> int:
    return _CODES.get(status, UNAVAILABLE if status >= 500 else FAILED)
