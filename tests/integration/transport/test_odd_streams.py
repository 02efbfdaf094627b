"""HTTP/2 and gRPC as no library would speak them: headers, deadlines, methods; a link beside it goes on."""

from __future__ import annotations
