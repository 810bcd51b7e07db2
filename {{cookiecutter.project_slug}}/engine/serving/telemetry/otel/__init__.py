"""Spans and metrics for collectors; the only package that imports OpenTelemetry.

Nothing but ``engine.serving.telemetry.export`` imports it, and that only when a setting names a
collector.
"""
