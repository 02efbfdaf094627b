"""A bare Quart application with our answers for everything that goes wrong."""

from __future__ import annotations

import logging
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from actors.model.errors import CallboardError
from api.http.asgi import REQUEST_ID
from api.http.problems import CONTENT_TYPE, Problem, problem_of
from api.http.reading import LimitedRequest

log = logging.getLogger(__name__)

BODY_LIMIT = 30.0  # seconds until a body is there
ANSWER_LIMIT = 300.0  # seconds until an answer is taken; a stuck reader is cut off much earlier

_CODES = {
    400: ("malformed", "the request can't be understood"),
    404: ("not_found", "there is nothing at this address; /openapi.json lists what there is"),
    405: ("method_not_allowed", "this address does not take this method; see the Allow header"),
    408: ("too_slow", f"the body did not arrive within {BODY_LIMIT:g} s"),
    413: ("too_large", "the body is too large: at most 1 MiB, 16 MiB for a batch"),
    415: ("media_type", "send the body as application/json"),
}


def bare_app(name: str) -> QuartTrio:
    """Knows no routes yet; every error becomes a problem document."""
    app = QuartTrio(name, static_folder=None, template_folder=None)
    app.request_class = LimitedRequest
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config.update(
        BODY_TIMEOUT=BODY_LIMIT,
        RESPONSE_TIMEOUT=ANSWER_LIMIT,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
        BACKGROUND_TASK_SHUTDOWN_TIMEOUT=None,
    )

    @app.errorhandler(Problem)
    async def problem(error: Problem) -> Response:
        return problem_response(error)

    @app.errorhandler(CallboardError)
    async def ours(error: CallboardError) -> Response:
        return problem_response(problem_of(error))

    @app.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> Response:
        return problem_response(_of_http(error))

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        log.error("request %s failed: %s %s", request_id(), request.method, ascii(request.path[:200]), exc_info=error)
        return problem_response(problem_of(error))

    return app


def request_id() -> str:
    return str(request.scope.get(REQUEST_ID, ""))


def problem_response(problem: Problem) -> Response:
    response = Response(problem.body(request_id()), status=problem.status, content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(dict(problem.headers))
    return response


def _of_http(error: HTTPException) -> Problem:
    status = error.code or 500
    code, detail = _CODES.get(status, ("refused", "the request was refused"))
    headers: dict[str, Any] = {}
    valid = getattr(error, "valid_methods", None)
    if status == 405 and valid:
        headers["Allow"] = ", ".join(sorted(valid))
    return Problem(status=status if status >= 400 else 404, code=code, detail=detail, headers=headers)
