"""The files of a generated project, as a function of the answers."""

from __future__ import annotations

ALWAYS = """
.dockerignore
.editorconfig
.gitignore
.python-version
Dockerfile
Makefile
README.md
app/__init__.py
app/__main__.py
app/check.py
app/errors.py
app/http/__init__.py
app/http/api.py
app/http/asgi.py
app/http/auth.py
app/http/body.py
app/http/connection.py
app/http/inference.py
app/http/openapi.py
app/http/page.html
app/inference/__init__.py
app/inference/batcher.py
app/inference/host.py
app/inference/model.py
app/inference/profile.py
app/lifecycle.py
app/logs.py
app/metrics/__init__.py
app/metrics/service.py
app/metrics/slab.py
app/package/__init__.py
app/package/digest.py
app/package/drift.py
app/package/golden.py
app/package/manifest.py
app/package/reader.py
app/release.py
app/runtimes/__init__.py
app/runtimes/base.py
app/runtimes/buckets.py
app/runtimes/cpu.py
app/runtimes/joblib_runtime.py
app/runtimes/onnx_runtime.py
app/runtimes/providers.py
app/server.py
app/service.py
app/settings.py
app/tensors/__init__.py
app/tensors/datatypes.py
app/tensors/signature.py
app/transports/__init__.py
app/transports/json_body.py
app/transports/json_tensor.py
app/transports/json_walk.py
app/transports/oip.py
app/transports/oip_binary.py
app/transports/tutorial.py
app/workers.py
deploy/__init__.py
deploy/docker.py
deploy/image.py
deploy/project.yaml
load/__init__.py
load/__main__.py
load/locustfile.py
models/iris/golden.npz
models/iris/model.yaml
pyproject.toml
requirements/cuda.in
requirements/cuda.txt
requirements/dev.in
requirements/dev.txt
requirements/serve-cpu.in
requirements/serve-cpu.txt
requirements/serve-gpu.in
requirements/serve-gpu.txt
requirements/serve.in
requirements/train.in
requirements/train.txt
tests/__init__.py
tests/conftest.py
tests/server.py
tests/test_access.py
tests/test_batcher.py
tests/test_buckets.py
tests/test_connections.py
tests/test_lifecycle.py
tests/test_models.py
tests/test_packages.py
tests/test_predict.py
tests/test_protocol.py
tests/test_settings.py
tests/test_workers.py
tests/toy_models.py
training/__init__.py
training/package.py
training/train.py
"""


def expected_files(model_format: str) -> list[str]:
    """Return the sorted paths that a project with this model format consists of, .git aside."""
    return sorted([*ALWAYS.split(), f"models/iris/model.{model_format}"])
