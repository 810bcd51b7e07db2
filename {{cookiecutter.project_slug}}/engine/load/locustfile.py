"""What users do: single rows, batches, the Open Inference Protocol, and now and then a mistake.

Requests come from the golden records of MODELS_DIR and every answer is compared with them: a wrong
one counts as failed. A mistake must be refused with the right status. `python -m engine.load` runs
this file; it works with `locust -f engine/load/locustfile.py` as well.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from engine.client.parity import read_records, served_records
from engine.client.service import Service, front_door
from engine.client.wire import LENGTH
from engine.deploy.verify import key_from
from engine.load.proxy import proxy_arguments
from engine.load.recorder import Recorder
from engine.load.samples import Sample, prepare
from engine.load.slo import THINK_SECONDS

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0


class Caller(FastHttpUser):
    """One client that thinks for a moment between requests."""

    wait_time = between(*THINK_SECONDS)
    samples: ClassVar[Mapping[str, list[Sample]]] = {}
    key: ClassVar[Mapping[str, str]] = {}

    def __init__(self, environment: Environment) -> None:
        # Locust's own way to set a proxy takes no user name, and its default trusts any
        # certificate.
        self.client_pool = HTTPClientPool(
            connection_timeout=CONNECT_SECONDS,
            network_timeout=ANSWER_SECONDS,
            **proxy_arguments(self.host or environment.host or ""),
        )
        super().__init__(environment)
        self._rng = random.Random()  # noqa: S311 - chooses samples

    @task(6)
    def single_row(self) -> None:
        """One row as the tutorials send it."""
        self._send("single_row")

    @task(2)
    def batch(self) -> None:
        """Several rows at once."""
        self._send("batch")

    @task(1)
    def protocol_json(self) -> None:
        """One row in the Open Inference Protocol."""
        self._send("protocol_json")

    @task(2)
    def protocol_binary(self) -> None:
        """One row in binary tensors."""
        self._send("protocol_binary")

    @task(1)
    def mistake(self) -> None:
        """A request that must be refused."""
        self._send("mistake")

    def _send(self, name: str) -> None:
        sample = self._rng.choice(self.samples[name])
        request, client = sample.request, cast("Any", self.client)
        with client.post(
            request.path,
            data=request.content,
            headers={**request.headers, **self.key},
            name=sample.kind,
            catch_response=True,
        ) as response:
            if fault := _fault(sample, response):
                response.failure(fault)
            else:
                response.success()


def _fault(sample: Sample, response: Any) -> str | None:
    """Why the answer is none that a client could use; None if it is right."""
    if response.status_code == 0:
        return f"no answer: {response.error}"
    length = response.headers.get(LENGTH)
    return sample.fault(response.status_code, response.content or b"", length)


def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--record", default="", help="write all requests to this file, as JSON")
    parser.add_argument("--measure-after", type=float, default=0.0, help="seconds of warm-up")
    parser.add_argument("--measure-for", type=float, help="seconds after that; default: no end")


def _prepare(environment: Environment, **_: Any) -> None:
    """All users share the samples, which may be large."""
    key = key_from(os.environ)
    Caller.key = {**({"X-API-Key": key} if key else {}), **front_door(os.environ)}
    options: Any = environment.parsed_options
    models = Path(os.environ.get("MODELS_DIR", "models"))
    host = environment.host or options.host
    if host:
        with Service(host, key, ANSWER_SECONDS) as service:
            Caller.samples = prepare(served_records(service, models))
    else:  # given later, on Locust's page
        Caller.samples = prepare(read_records(models))
    file = Path(options.record) if options.record else None
    Recorder(environment, file, options.measure_after, options.measure_for)


_events: Any = events
_events.init_command_line_parser.add_listener(_options)
_events.init.add_listener(_prepare)
