"""The exporters of the two kinds of collectors, with all that was not asked for switched off."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from engine.serving.settings import Settings

# For one batch, with what an exporter tries again. A collector is near or not worth waiting for.
TIMEOUT_SECONDS = 4
# What Microsoft's exporter does beside exporting, unless that is turned off: usage statistics of
# its own (statsbeat), statistics of the export, settings fetched from Microsoft, and the resource
# repeated as a metric with every batch.
AZURE_SWITCHES = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where telemetry goes.

    Attributes:
        name: in logs.
        delta: whether it wants what came since the last metrics instead of totals.
        counts_samples: whether it wants to know of how many requests each span is one.
    """

    name: str
    spans: SpanExporter
    metrics: MetricExporter
    delta: bool
    counts_samples: bool

    def send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        """Send spans; whether they were taken."""
        return self.spans.export(spans) is SpanExportResult.SUCCESS

    def metric_sender(self, read: Callable[[], MetricsData]) -> Callable[[], bool]:
        """What reads and sends the metrics; whether they were taken."""
        return lambda: self.metrics.export(read()) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """Release the connections."""
        self.spans.shutdown()
        self.metrics.shutdown()


def open_destinations(settings: Settings) -> list[Destination]:
    """The exporters that the settings ask for.

    Raises:
        ValueError: an environment variable that OpenTelemetry itself reads is wrong.
    """
    opened = []
    if settings.applicationinsights_connection_string is not None:
        opened.append(_application_insights(settings.applicationinsights_connection_string))
    if settings.otel_exporter_otlp_endpoint is not None:
        opened.append(_otlp(settings.otel_exporter_otlp_endpoint))
    return opened


def _application_insights(connection_string: str) -> Destination:
    os.environ.update(AZURE_SWITCHES)
    # The exporter parses this variable as well, and stricter than the settings do.
    os.environ["APPLICATIONINSIGHTS_CONNECTION_STRING"] = connection_string
    from azure.monitor.opentelemetry.exporter import (
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    options = {
        "connection_string": connection_string,
        # The root of the image is read-only, and what a collector missed is not worth a disk.
        "disable_offline_storage": True,
        "timeout": TIMEOUT_SECONDS,
        "read_timeout": TIMEOUT_SECONDS,
        "retry_total": 1,
    }
    return Destination(
        "Application Insights",
        AzureMonitorTraceExporter(**options),
        AzureMonitorMetricExporter(**options),
        delta=True,
        counts_samples=True,
    )


def _otlp(endpoint: str) -> Destination:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # Headers, certificates and compression: the exporter's own environment variables.
    return Destination(
        "the OTLP collector",
        OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=TIMEOUT_SECONDS),
        OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=TIMEOUT_SECONDS),
        delta=False,
        counts_samples=False,
    )
