"""A small image for the double's own tests: a server that does what a request tells it to."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

BASE = "python:3.13-slim-trixie"
TAG = "azure-double-probe:2"
"""Counts up when the server changes: the image is built once and stays."""

DOCKERFILE = f"""\
FROM {BASE}
COPY server.py /server.py
ENTRYPOINT ["python", "-u", "/server.py"]
"""

SERVER = '''\
"""GET /env/NAME, /file/PATH, /alive, /ready, /die/CODE, /eat, /sicken, /unready; LIFE ends it."""
import http.server, os, signal, sys, time

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
state = {"alive": 200, "ready": 200}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        verb, _, word = self.path[1:].partition("/")
        if verb == "die":
            print("dying as told", flush=True)
            os._exit(int(word))
        if verb == "eat":
            hoard = []
            while True:
                hoard.append(bytearray(os.urandom(1024)) * (1024 * 8))
        if verb in ("sicken", "unready"):
            state["alive" if verb == "sicken" else "ready"] = 500
        self.send_response(state.get(verb, 200))
        body = os.environ.get(word, "") if verb == "env" else str(os.getpid())
        if verb == "file":
            body = open("/" + word).read()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


print("starting with", os.environ.get("GREETING", "nothing"), flush=True)
if "LIFE" in os.environ:
    time.sleep(float(os.environ["LIFE"]))
    print("ending", flush=True)
    sys.exit(int(os.environ.get("CODE", "1")))
time.sleep(float(os.environ.get("DELAY", "0")))
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
'''


def built() -> str:
    """The tag of the image, built if it is not there yet."""
    docker = os.environ.get("DOCKER") or "docker"
    known = subprocess.run([docker, "image", "inspect", TAG], capture_output=True, check=False)
    if known.returncode:
        subprocess.run(
            [docker, "build", "--quiet", "--tag", TAG, "-"],
            input=_context(),
            capture_output=True,
            check=True,
        )
    return TAG


def _context() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in (("Dockerfile", DOCKERFILE), ("server.py", SERVER)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()
