"""The service's settings: environment variables, typed, all faults reported at once."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from engine.serving.destinations import collector_url, connection_string
from engine.serving.errors import SettingsError, StartupError

Provider = Literal["cpu", "cuda"]
PROVIDER_CHOICES: tuple[tuple[Provider, ...], ...] = (("cpu",), ("cuda",), ("cuda", "cpu"))
MIN_KEY_LENGTH = 16
# Secrets, or places for some: faults name them without their values.
HIDDEN = (
    "api_keys",
    "trusted_front_door_id",
    "model_uri",
    "applicationinsights_connection_string",
    "otel_exporter_otlp_endpoint",
)


def _split(value: object) -> object:
    """Turn ``a, b`` into ``("a", "b")``; anything but a string is left to pydantic."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _providers(value: object) -> object:
    parts = _split(value.lower() if isinstance(value, str) else value)
    if parts not in PROVIDER_CHOICES:
        raise ValueError("must be cpu, cuda or cuda,cpu")
    return parts


def _origins(value: object) -> object:
    origins = _split(value)
    if isinstance(origins, tuple):
        for each in origins:
            if each != "*" and not re.fullmatch(r"https?://[^\s/?#@]+", str(each)):
                raise ValueError(f"{each!r} is no origin; write https://app.example")
    return origins


# Nothing but the host of a storage account gets a token of the identity.
CONTAINER = re.compile(r"https://[a-z0-9]{3,24}\.blob\.core\.[a-z]+[a-z.]*/[a-z0-9-]{3,63}/?")


def _store(value: object) -> object:
    if not isinstance(value, str):
        return value
    # What switches other settings off must not be the name of a folder for payloads.
    if value.strip().lower() in ("0", "f", "false", "n", "no", "none", "off"):
        return None
    if "://" in value and not CONTAINER.fullmatch(value):
        raise ValueError(
            "must be a folder or https://ACCOUNT.blob.core.windows.net/CONTAINER, without a "
            "folder in it and without a signature: the container's identity writes there, and is "
            "shown to Azure only"
        )
    return value


def _front_door(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value
    ):
        raise ValueError(
            "must be the frontDoorId of a profile, such as 01234567-89ab-cdef-0123-456789abcdef"
        )
    return value.lower() if isinstance(value, str) else value


def _keys(value: object) -> object:
    keys = _split(value)
    if isinstance(keys, tuple):
        for position, key in enumerate(keys, start=1):
            if not re.fullmatch(rf"[\x21-\x7e]{{{MIN_KEY_LENGTH},}}", str(key)):
                raise ValueError(
                    f"key {position} must have at least {MIN_KEY_LENGTH} printable ASCII characters"
                )
    return keys


class Settings(BaseSettings):
    """What can be set. Names are the environment variables, in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field(
        "0.0.0.0", description="Address to listen on; `::` listens on all of IPv6 and IPv4."
    )
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on.")
    models_dir: str = Field("models", min_length=1, description="Folder of the model packages.")
    default_model: str | None = Field(
        None, description="Model behind `/predict`; not needed while there is only one."
    )
    model_uri: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        repr=False,
        description="Packages to fetch before they are served, comma separated, each "
        "`https://…`, `runs:/…` or `file:///…` and then `#sha256=<digits>`.",
    )
    model_cache_dir: str = Field(
        "/tmp/models",  # noqa: S108 - written by this process, compared with its checksum
        min_length=1,
        description="Folder for what `MODEL_URI` fetches; kept, it is not fetched again.",
    )
    execution_providers: Annotated[tuple[Provider, ...], NoDecode, BeforeValidator(_providers)] = (
        Field(
            ("cpu",),
            description="`cpu`; `cuda`: the GPU or no start; `cuda,cpu`: CPU allowed, and shown.",
        )
    )
    api_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_keys)] = Field(
        (),
        repr=False,
        description="Accepted API keys, comma separated, each of at least "
        f"{MIN_KEY_LENGTH} characters. Empty: inference is open.",
    )
    trusted_front_door_id: Annotated[str | None, BeforeValidator(_front_door)] = Field(
        None,
        repr=False,
        description="`frontDoorId` of the Azure Front Door in front: requests without it in "
        "`X-Azure-FDID` get a 403, probes aside. Empty: all are answered.",
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, le=1024**3, description="Largest request body, in bytes."
    )
    max_bodies_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        le=64 * 1024**3,
        description="Most bytes of request bodies that a worker holds at a time, those of all "
        "connections together; beyond it: 429.",
    )
    max_answer_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="Most bytes of outputs in an answer; beyond it: 413. As JSON a number takes "
        "two to six times its bytes.",
    )
    max_answers_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        le=64 * 1024**3,
        description="Most bytes of answers that a worker holds until clients read them, those of "
        "all connections together; beyond it: 429.",
    )
    max_json_values: int = Field(
        1_000_000,
        ge=1000,
        le=1_000_000_000,
        description="Most values in a request as JSON; beyond it: 413. Reading more would keep "
        "probes waiting; binary tensors may have more.",
    )
    max_batch_rows: int = Field(
        256,
        ge=1,
        le=65536,
        description="Most rows in one run of a model; fewer where measuring showed that more win "
        "nothing.",
    )
    max_queue_rows: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Most rows waiting per model, and in one request; beyond it: 429.",
    )
    max_queue_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        le=64 * 1024**3,
        description="Most bytes of input waiting per model; beyond it: 429.",
    )
    max_queue_seconds: float = Field(
        1.0,
        gt=0,
        le=600,
        description="Longest wait that a request may expect, at the measured rate; beyond it: 429. "
        "A queue that has not kept up for a tenth of it takes only what one run can do, and "
        "requests that wait no longer than three times as long as they compute.",
    )
    request_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Time for sending a body, and again for waiting; beyond it: 408, 503. A run of "
        "a model that does not end within twice this, 30 s and ten times what is usual makes "
        "`/healthz` a 503.",
    )
    drain_seconds: float = Field(
        8.0,
        ge=0,
        le=60,
        description="Longest wait for accepted requests after SIGTERM; then they "
        "get a 503. The process ends at most two seconds later.",
    )
    compute_lanes: int = Field(
        0,
        ge=0,
        le=256,
        description="Runs of a model at the same time; 0: one per CPU granted, two on a GPU.",
    )
    intra_op_threads: int = Field(
        1, ge=0, le=256, description="ONNX Runtime threads inside one run; 0: one per CPU granted."
    )
    gpu_memory_bytes: int = Field(
        0, ge=0, description="Most GPU memory that ONNX Runtime may take, in bytes; 0: no limit."
    )
    gpu_tf32: bool = Field(
        False, description="Let matrix products on the GPU round to TF32: faster, less exact."
    )
    gpu_cuda_graphs: bool = Field(
        True,
        description="Replay CUDA graphs, one for each power of two of rows, where models allow.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that serve. More than one pays for small models, whose requests "
        "cost more than their computation; each holds its own copy of the models, and takes a GPU "
        "of its own as far as there are enough.",
    )
    max_connections: int = Field(
        1000, ge=1, le=100_000, description="Most open connections per worker; beyond it: 503."
    )
    keep_alive_seconds: float = Field(
        3700.0,
        gt=0,
        le=86_400,
        description="How long a connection may be idle between two requests. Longer than the hour "
        "that Envoy, in front of Container Apps, keeps its own: so that it is never this side that "
        "closes a connection which the other is about to use.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = Field(
        (),
        description="Origins whose pages may ask from a browser, comma separated, such as "
        "`https://app.example`; `*`: all. Empty: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`, `text`, or `auto`: text on a terminal, else JSON."
    )
    log_requests_per_second: int = Field(
        20,
        ge=0,
        le=10_000,
        description="Most request lines in a second and worker; failed and slow requests have as "
        "many of their own. 0: none.",
    )
    log_slow_seconds: float = Field(
        1.0, gt=0, le=600, description="A request that takes longer is slow, and logged as such."
    )
    trace_sample_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the traces beginning here that are recorded, 0 to 1; with a caller's "
        "`traceparent` the caller decides.",
    )
    traces_per_second: int = Field(
        20,
        ge=0,
        le=10_000,
        description="Most requests in a second and worker that are recorded, whether the caller or "
        "this service chose them; each costs about a millisecond of CPU.",
    )
    applicationinsights_connection_string: Annotated[
        str | None, BeforeValidator(connection_string)
    ] = Field(None, repr=False, description="Application Insights to export traces and metrics to.")
    otel_exporter_otlp_endpoint: Annotated[str | None, BeforeValidator(collector_url)] = Field(
        None,
        repr=False,
        description="Collector to export traces and metrics to: base URL of OTLP over HTTP, "
        "`http://…:4318`.",
    )
    otel_metric_export_interval: int = Field(
        60_000,
        ge=100,
        le=3_600_000,
        description="Milliseconds between two exports of the metrics to either.",
    )
    drift: bool = Field(
        True,
        description="Compare requests and answers with the `reference.json` of a model's package; "
        "`off`: do not.",
    )
    capture: Annotated[str | None, BeforeValidator(_store)] = Field(
        None,
        description="Folder, or Blob container `https://ACCOUNT.blob.core.windows.net/CONTAINER`, "
        "for a sample of requests and answers; empty or `off`: nothing is captured.",
    )
    capture_leave_out: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Columns, inputs and outputs that are not captured, comma separated.",
    )
    capture_per_minute: int = Field(
        60, ge=1, le=600, description="Most requests captured in a minute and worker."
    )
    capture_megabytes: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Most megabytes captured in a day (UTC): of all workers in a folder, of each "
        "worker in a container.",
    )
    capture_days: int = Field(
        7, ge=1, le=365, description="Days after which captured requests are removed."
    )
    feedback: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Places of 24 bytes in which each worker remembers the classes of answered "
        "rows of each model, until `POST /feedback` says which was right; 0: none, and there is no "
        "such route.",
    )
    feedback_accuracy: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="Share of right answers, by feedback, that is promised; below it, and below "
        "what chance gives for so few rows, the alert `AccuracyLow` speaks.",
    )
    page: bool = Field(True, description="The page at `/`; `off`: there is none, and `/` is a 404.")
    git_revision: str = Field(
        "unknown", description="Commit the image was built from; set by the image."
    )

    @property
    def exports_telemetry(self) -> bool:
        """Whether traces and metrics leave this process by themselves."""
        return bool(self.applicationinsights_connection_string or self.otel_exporter_otlp_endpoint)


def load_settings(**overrides: object) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: with one line for each variable that breaks its rule.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(faults_of(error, Settings)) from None


def faults_of(error: ValidationError, model: type[BaseSettings]) -> list[str]:
    """One line for each variable that breaks its rule."""
    return [_fault(item, model) for item in error.errors()]


def _fault(item: ErrorDetails, model: type[BaseSettings]) -> str:
    rule = item["msg"].removeprefix("Value error, ")
    name = str(item["loc"][0]) if item["loc"] else ""
    field = model.model_fields.get(name)
    if field is None:  # a rule on several settings together
        return rule
    # A key is a secret even when it is malformed: never repeat it.
    hidden = name in HIDDEN or not field.repr or SecretStr.__name__ in str(field.annotation)
    value = "(hidden)" if hidden else repr(item["input"])
    return f"{name.upper()}={value}: {rule} (default: {_default(field.default)})"


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(hidden)" if value.get_secret_value() else "empty"
    if isinstance(value, tuple):
        return ",".join(cast("tuple[str, ...]", value)) or "empty"
    return "empty" if value is None else str(value)


def markdown_table(*models: type[BaseSettings]) -> str:
    """The table of every variable, as docs/reference.md shows it."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for model in models or (Settings,):
        for name, field in model.model_fields.items():
            default = _default(field.default)
            lines.append(f"| `{name.upper()}` | `{default}` | {field.description} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, with the settings of `service.py`."""
    from engine.serving.service_file import own_extension

    # Not those of this module, which runs under another name.
    from engine.serving.settings import Settings as EngineSettings

    try:
        extension = own_extension()
    except StartupError as error:
        sys.exit(f"error: {error}")
    print(markdown_table(EngineSettings, *map(type, extension.own_settings)))


if __name__ == "__main__":
    main()
