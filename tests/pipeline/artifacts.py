"""Manifests that no docker pushes: images of nothing, signatures, indexes, put into a registry."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.parse
import urllib.request
from typing import Any

from .commands import run

OCI = "application/vnd.oci.image"
USER = "00000000-0000-0000-0000-000000000000"
"""Beside a refresh token of Azure's, in the place of a name."""


class Repository:
    """A repository of a registry, as somebody who may push into it."""

    def __init__(self, env: dict[str, str], registry: str, name: str) -> None:
        shown = json.loads(run(env, "az", "acr", "login", "--name", registry, "--expose-token"))
        self._server, self._name = shown["loginServer"], name
        trust = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        form = {
            "grant_type": "refresh_token",
            "service": self._server,
            "scope": f"repository:{name}:pull,push",
            "refresh_token": shown["accessToken"],
        }
        answer = self._send("POST", "/oauth2/token", urllib.parse.urlencode(form).encode(), {})
        self._token = json.loads(answer)["access_token"]

    def image(self, name: str, tag: str = "") -> str:
        """An image without layers; its digest."""
        config = self._blob(f"{OCI}.config.v1+json", {"architecture": "amd64", "comment": name})
        return self._manifest({"config": config, "layers": []}, tag)

    def about(self, subject: str, kind: str) -> str:
        """What a signer or an attestation pushes about an image."""
        empty = self._blob("application/vnd.oci.empty.v1+json", {})
        content = {"artifactType": kind, "config": empty, "layers": [empty]}
        about = {"mediaType": f"{OCI}.manifest.v1+json", "digest": subject, "size": 1}
        return self._manifest({**content, "subject": about})

    def index(self, *parts: str) -> str:
        """One image for several platforms."""
        media_type = f"{OCI}.manifest.v1+json"
        listed = [{"mediaType": media_type, "digest": each, "size": 1} for each in parts]
        return self._manifest({"manifests": listed}, kind="index")

    def _manifest(self, content: dict[str, Any], tag: str = "", kind: str = "manifest") -> str:
        media_type = f"{OCI}.{kind}.v1+json"
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **content}).encode()
        digest = _digest(body)
        path = f"/v2/{self._name}/manifests/{tag or digest}"
        self._send("PUT", path, body, {"Content-Type": media_type})
        return digest

    def _blob(self, media_type: str, content: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(content).encode()
        digest = _digest(body)
        place = self._open("POST", f"/v2/{self._name}/blobs/uploads/", b"", {}).headers["Location"]
        place = urllib.parse.urlsplit(place)
        path = f"{place.path}?{place.query}&digest={digest}"
        self._send("PUT", path, body, {"Content-Type": "application/octet-stream"})
        return {"mediaType": media_type, "digest": digest, "size": len(body)}

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        answer: bytes = self._open(method, path, body, headers).read()
        return answer

    def _open(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        if token := getattr(self, "_token", ""):
            headers = {**headers, "Authorization": f"Bearer {token}"}
        url = f"https://{self._server}{path}"
        return self._opener.open(urllib.request.Request(url, body, headers, method=method))


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
