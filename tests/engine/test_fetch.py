"""Packages that are fetched: checked against their checksum, cached, and served."""

from __future__ import annotations

import http.server
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from engine.packaging.archive import archive
from engine.serving.errors import PackageError
from engine.serving.package import download, fetch
from engine.serving.package.digest import digest_of, file_sha256

from tests.engine.server import running

TOKEN = "a-token-of-the-identity"


@dataclass
class Cloud:
    """Doubles on one address of 127.0.0.1: blobs, the identity endpoint, MLflow's artifacts."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    with_identity: bool = True


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The doubles; blobs on them need the token of the identity."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            double.asked.append(parts.path)
            if parts.path == "/metadata/identity/oauth2/token":
                right = self.headers["Metadata"] == "true" and double.with_identity
                right = right and query["resource"] == "https://storage.azure.com/"
                self.answer(200 if right else 400, f'{{"access_token": "{TOKEN}"}}'.encode())
            elif parts.path == "/get-artifact":
                self.answer(200, double.files[f"{query['run_uuid']}/{query['path']}"])
            elif parts.path.startswith("/open/"):
                self.answer(200, double.files[parts.path.removeprefix("/open/")])
            elif self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer(403, b"")
            else:
                self.answer(200, double.files[parts.path[1:]])

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double = Cloud(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    # Nothing listens on port 9: these addresses are asked without a proxy.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(download, "BLOB_HOST", re.compile(r"127\.0\.0\.1"))
    monkeypatch.setattr(download, "IMDS", f"{double.url}/metadata/identity/oauth2/token")
    yield double
    server.shutdown()
    server.server_close()


@pytest.fixture
def zipped(toy_dir: Path, tmp_path: Path) -> tuple[bytes, str]:
    """The package `scale` as a zip file, and its checksum."""
    sha256 = archive(toy_dir / "scale", tmp_path / "scale.zip")
    return (tmp_path / "scale.zip").read_bytes(), sha256


def test_a_blob_is_fetched_with_the_identity_and_only_once(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path
) -> None:
    cloud.files["container/scale.zip"] = zipped[0]
    address = f"{cloud.url}/container/scale.zip#sha256={zipped[1]}"
    for _ in range(2):
        (folder,) = fetch.fetch_all((address,), tmp_path / "cache")
        assert sorted(path.name for path in folder.iterdir()) == [
            "golden.npz",
            "model.onnx",
            "model.yaml",
        ]
    assert cloud.asked == ["/metadata/identity/oauth2/token", "/container/scale.zip"]


@pytest.mark.parametrize("what", ["altered", "gone", "more", "no listing"])
def test_what_lies_in_the_cache_is_compared_with_what_was_fetched(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path, what: str
) -> None:
    cloud.files["scale.zip"] = zipped[0]
    address = f"{cloud.url}/open/scale.zip#sha256={zipped[1]}"
    (folder,) = fetch.fetch_all((address,), tmp_path / "cache")
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    if what == "altered":
        (folder / "model.yaml").write_text((folder / "model.yaml").read_text() + "\n# more")
    elif what == "gone":
        (folder / "golden.npz").unlink()
    elif what == "more":
        (folder / "weights.bin").write_bytes(b"")
    else:
        (tmp_path / "cache" / f"{zipped[1]}.json").unlink()
    (folder,) = fetch.fetch_all((address,), tmp_path / "cache")
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    assert cloud.asked.count("/open/scale.zip") == 2


def test_an_archive_with_an_impossible_name_is_one_error(cloud: Cloud, tmp_path: Path) -> None:
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w") as content:
        content.writestr("scale/model.yaml", "x")
        content.writestr(f"scale/{'n' * 300}", "x")
    cloud.files["scale.zip"] = made.read_bytes()
    address = f"{cloud.url}/open/scale.zip#sha256={file_sha256(made)}"
    with pytest.raises(PackageError, match=r"scale\.zip: cannot be unpacked"):
        fetch.fetch_all((address,), tmp_path / "cache")


def test_a_signed_address_needs_no_identity_and_is_never_shown(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path
) -> None:
    cloud.files["scale.zip"] = zipped[0]
    fetch.fetch_all((f"{cloud.url}/open/scale.zip?sig=abc#sha256={zipped[1]}",), tmp_path / "cache")
    assert cloud.asked == ["/open/scale.zip"]
    with pytest.raises(PackageError) as refused:
        fetch.fetch_all((f"{cloud.url}/gone.zip?sig=abc#sha256={zipped[1]}",), tmp_path / "other")
    assert "abc" not in str(refused.value)
    assert "403" in str(refused.value)
    assert "Storage Blob Data Reader" in str(refused.value)


def test_a_file_of_a_run_comes_from_mlflow_s_server(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", cloud.url)
    cloud.files["1234/packages/scale.zip"] = zipped[0]
    address = f"runs:/1234/packages/scale.zip#sha256={zipped[1]}"
    (folder,) = fetch.fetch_all((address,), tmp_path / "cache")
    assert folder.name == "scale"


def test_other_bytes_are_refused_and_leave_nothing_behind(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path
) -> None:
    cloud.files["scale.zip"] = zipped[0] + b"!"
    address = f"{cloud.url}/open/scale.zip?sig=x#sha256={zipped[1]}"
    with pytest.raises(PackageError, match="its sha256 is"):
        fetch.fetch_all((address,), tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.invalid/scale.zip", "#sha256="),
        ("ftp://example.invalid/scale.zip#sha256=" + "0" * 64, "must be https://"),
        ("runs:/1/scale.zip#sha256=" + "0" * 64, "MLFLOW_TRACKING_URI"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(PackageError, match=words):
        fetch.fetch_all((address,), tmp_path)


def test_no_identity_is_told_with_the_way_out(
    cloud: Cloud, zipped: tuple[bytes, str], tmp_path: Path
) -> None:
    cloud.with_identity = False
    with pytest.raises(PackageError, match="no managed identity gives a token"):
        fetch.fetch_all((f"{cloud.url}/scale.zip#sha256={zipped[1]}",), tmp_path)


@pytest.mark.parametrize(
    "name", ["../model.yaml", "a/b/model.yaml", "/etc/model.yaml", "model.yaml"]
)
def test_a_zip_file_that_is_no_package_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as content:
        content.writestr("a/model.yaml", "")
        content.writestr(name, "")
    address = f"{(tmp_path / 'bad.zip').as_uri()}#sha256={file_sha256(tmp_path / 'bad.zip')}"
    with pytest.raises(PackageError, match="must hold one folder"):
        fetch.fetch_all((address,), tmp_path / "cache")


def test_a_build_puts_it_into_the_models_folder(
    zipped: tuple[bytes, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"{(tmp_path / 'scale.zip').as_uri()}#sha256="
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODEL_URI", address + zipped[1])
    for _ in range(2):
        assert fetch.main() == 0
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["scale"]
    monkeypatch.setenv("MODEL_URI", address + "0" * 64)
    assert fetch.main() == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_the_service_serves_what_it_fetched_beside_its_own(
    zipped: tuple[bytes, str], toy_dir: Path, tmp_path: Path
) -> None:
    own = tmp_path / "models"
    own.mkdir()
    (own / "add").symlink_to(toy_dir / "add")
    settings = {
        "MODEL_URI": f"{(tmp_path / 'scale.zip').as_uri()}#sha256={zipped[1]}",
        "MODEL_CACHE_DIR": str(tmp_path / "cache"),
        "WORKERS": "2",
    }
    with running(own, **settings) as server:
        answer = httpx.post(f"{server.url}/predict/scale", json={"data": [1, 2, 3]})
        assert answer.json()["predictions"] == [[2, 4, 6]]
        facts = httpx.get(f"{server.url}/v2").json()
        assert facts["models"] == ["add", "scale"]
        assert facts["model_digest"] == digest_of([toy_dir / "add", toy_dir / "scale"])
        assert facts["model_digest"] in httpx.get(f"{server.url}/metrics").text


@pytest.mark.slow
def test_a_package_that_cannot_be_fetched_keeps_the_service_not_ready(tmp_path: Path) -> None:
    from tests.engine.server import started

    settings = {
        "MODEL_URI": f"{(tmp_path / 'none.zip').as_uri()}#sha256={'0' * 64}",
        "MODEL_CACHE_DIR": str(tmp_path / "cache"),
    }
    with started(tmp_path, **settings) as server:
        report = server.wait_for("failed")
        assert "none.zip: cannot be fetched" in str(report["reason"])
