"""Real proxies in front of a service, with keep-alive towards it; each stops with its block."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .running import STOP_SECONDS, free_port

CADDY = """\
{{
	admin off
	auto_https off
}}
http://:{port} {{
	bind 127.0.0.1
	{routes}
}}
"""
NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream service {{ server {service}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        {routes}
    }}
}}
"""
# Its own pages' recipe for WebSocket, with keep-alive to the service.
NGINX_UPGRADING = """location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}"""
# Name, to the program's configuration and what it says of the service.
CONFIGURATIONS = {
    "caddy": (CADDY, "reverse_proxy {service}"),
    "nginx": (NGINX, NGINX_UPGRADING),
    "nginx-default": (NGINX, "location / {{ proxy_pass http://{service}; }}"),
    "caddy-prefix": (CADDY, "handle_path /ml/* {{\n\treverse_proxy {service}\n\t}}"),
    "nginx-prefix": (NGINX, "location /ml/ {{ proxy_pass http://{service}/; }}"),
}
COMMANDS = {
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config"],
    "nginx": ["nginx", "-e", "stderr", "-c"],
}
START_SECONDS = 20


@contextmanager
def proxy(name: str, service: str, folder: Path) -> Iterator[int]:
    """The port of 127.0.0.1 where a proxy passes requests on.

    Args:
        name: of ``CONFIGURATIONS``; those with a prefix take requests to ``/ml/``.
        service: host and port behind it.
        folder: for its configuration and what it writes.
    """
    port = free_port()
    configuration = folder / f"{name}.conf"
    whole, routes = CONFIGURATIONS[name]
    told = {"port": port, "service": service, "folder": folder}
    text = whole.format(routes=routes.format(**told), **told)
    configuration.write_text(text, encoding="utf-8")
    # Caddy keeps state at home.
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMANDS[name.partition("-")[0]], str(configuration)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(port, process, folder / f"{name}.log")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"it does not listen on {port}: {log.read_text(encoding='utf-8')}")
