"""/docs: the description of the API for people, from this node alone; and /openapi.json for programs.

rapidoc-*.min.js.gz is the file dist/rapidoc-min.js of the npm package of that name, compressed; its licence
lies beside it.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from quart import Blueprint, Response, request

from api.http.openapi import description
from api.http.reading import answer

SCRIPT = "rapidoc-9.3.8.min.js"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Callboard API</title><script type="module" src="/docs/{SCRIPT}"></script></head>
<body>
<rapi-doc spec-url="/openapi.json" load-fonts="false" render-style="read" show-header="false" theme="light"
 schema-style="table" allow-spec-url-load="false" allow-spec-file-load="false" persist-auth="false"></rapi-doc>
<noscript>The description is at <a href="/openapi.json">/openapi.json</a>.</noscript>
</body>
</html>
"""


@cache
def _compressed() -> bytes:
    return (files("api.http.docs") / f"{SCRIPT}.gz").read_bytes()


def docs_blueprint() -> Blueprint:
    routes = Blueprint("docs", __name__)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return answer(description())

    @routes.get("/docs")
    async def docs() -> Response:
        response = Response(_PAGE, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    @routes.get(f"/docs/{SCRIPT}")
    async def script() -> Response:
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        body = _compressed() if packed else gzip.decompress(_compressed())
        response = Response(body, content_type="text/javascript; charset=utf-8")
        response.headers["Cache-Control"] = "max-age=86400"
        response.headers["Vary"] = "Accept-Encoding"
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        return response

    return routes
