"""The pages of the service. At `/`: what runs, whether it is ready, live charts, and a form that
predicts; at `/docs`: every operation of the API, with an example that can be sent.

Each is one document without external parts. Style and scripts are files of their own here and are
put into it once, at the start, so that behind any path prefix there is only one address to get
right, and nothing is asked of another host.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template

from fastapi import FastAPI, Request, Response

PAGE = ("index.html", ("common.js", "metrics.js", "charts.js", "form.js", "drift.js", "page.js"))
DOCS = ("docs.html", ("common.js", "docs.js"))


def add_pages(app: FastAPI, with_keys: bool, with_page: bool) -> None:
    """Answer `/docs`, and `/` where the page is wanted.

    Args:
        app: its title and description head both pages.
        with_keys: whether inference asks for an API key, so that the pages have a field for it.
        with_page: whether there is a page at `/`.
    """
    _add(app, "/docs", *DOCS, with_keys)
    if with_page:
        _add(app, "/", *PAGE, with_keys)


def _add(app: FastAPI, path: str, file: str, scripts: tuple[str, ...], with_keys: bool) -> None:
    style = _read("page.css")
    script = "\n".join(_read(name) for name in scripts)
    document = Template(_read(file)).substitute(
        title=escape(app.title),
        description=escape(app.description),
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

    @app.get(path, include_in_schema=False)
    async def page(request: Request) -> Response:
        if "gzip" in request.headers.get("accept-encoding", ""):
            packed_headers = headers | {"Content-Encoding": "gzip"}
            return Response(packed, media_type="text/html", headers=packed_headers)
        return Response(plain, media_type="text/html", headers=headers)


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy: this script and this style, this service, and nothing else.

    Answers and error texts come from outside, so a header has the browser refuse any text that is
    used as markup. ``data:`` is the tab's icon, which is drawn.
    """
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
