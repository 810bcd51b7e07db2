"""The page at `/`: what runs, whether it is ready, live charts, and a form that predicts.

One document without external parts. Its style and scripts are files of their own here and are put
into it once, at the start, so that behind any path prefix there is only one address to get right.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template

from fastapi import FastAPI, Request, Response

SCRIPTS = ("metrics.js", "charts.js", "page.js")


def add_page(app: FastAPI, title: str, description: str, with_keys: bool) -> None:
    """Answer `/` with the page.

    Args:
        title: of the service, for people.
        description: what it predicts, in one sentence; may be empty.
        with_keys: whether inference asks for an API key, so that the page has a field for it.
    """
    style = _read("page.css")
    script = "\n".join(_read(name) for name in SCRIPTS)
    document = Template(_read("index.html")).substitute(
        title=escape(title),
        description=escape(description),
        key_hidden="" if with_keys else "hidden",
        style=style,
        script=script,
    )
    plain = document.encode()
    packed = gzip.compress(plain, mtime=0)
    headers = {
        "Content-Security-Policy": _policy(style, script),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        if "gzip" in request.headers.get("accept-encoding", ""):
            packed_headers = headers | {"Content-Encoding": "gzip"}
            return Response(packed, media_type="text/html", headers=packed_headers)
        return Response(plain, media_type="text/html", headers=headers)


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy: this script and this style, this service, and nothing else.

    Answers and error texts come from outside, so the browser is told to refuse any text that is
    used as markup. ``data:`` is the tab's icon, which is drawn.
    """
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
