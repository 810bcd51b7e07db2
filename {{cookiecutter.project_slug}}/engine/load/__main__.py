"""`python -m engine.load`: put load on a service and judge it by load/slo.yaml.

Exit code 0 when every objective was kept, 1 when one was missed or the test could not run, 2 for
wrong usage. The API key comes from API_KEYS or LOAD_API_KEY; proxies and certificates from
HTTPS_PROXY, HTTP_PROXY, NO_PROXY and SSL_CERT_FILE.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.dev"):
    from engine.client.parity import read_records
    from engine.client.readiness import wait_until_ready
    from engine.client.service import Service, address, front_door_setting
    from engine.deploy.config.read import read_environment
    from engine.deploy.say import Say, default_say
    from engine.deploy.verify import key_from
    from engine.errors import ConfigError, EngineError
    from engine.load import report
    from engine.load.local import local_service
    from engine.load.measured import measure
    from engine.load.proxy import proxy_arguments
    from engine.load.run import ROOT, run_locust
    from engine.load.slo import Slo, read_slo
    from engine.load.verdict import judge
    from engine.machine import doubt
    from engine.serving.proxies import keep_local_direct

READY_SECONDS = 60.0
LOG = ROOT / "build" / "load-service.log"
PASSED, MISSED, WRONG_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(argv)
    keep_local_direct()
    say = default_say()
    say.hide([key_from(os.environ) or ""])
    try:
        if options.env:
            _, environment = read_environment(options.env, ROOT)
            # Locust asks in a process of its own.
            os.environ.update(front_door_setting(environment.variables))
        slo = read_slo(options.slo, options.users, options.seconds)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
        unquiet = doubt()
        run = (
            _deployed(options.url, slo, options.out, say, unquiet)
            if options.url
            else _local(slo, options, unquiet)
        )
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        say.summary(f"## The load test could not run\n\n{error.cause}\n\n**Fix**: {error.fix}")
        return WRONG_USAGE if isinstance(error, ConfigError) else MISSED
    print(report.text(run))
    say.summary(report.markdown(run))
    if options.out:
        report.write(run, options.out)
        print(f"report: {options.out}")
    return PASSED if run.verdict.passed else MISSED


def _deployed(url: str, slo: Slo, out: Path | None, say: Say, unquiet: str | None) -> report.Run:
    proxy_arguments(url)
    with Service(url, None, READY_SECONDS) as service:
        wait_until_ready(service, READY_SECONDS, say.step)
    return _judged(url, slo, out, unquiet)


def _local(slo: Slo, options: argparse.Namespace, unquiet: str | None) -> report.Run:
    with local_service(LOG) as url:
        print(f"log of the service: {LOG.relative_to(ROOT)}")
        return _judged(url, slo, options.out, unquiet)


def _judged(url: str, slo: Slo, out: Path | None, unquiet: str | None) -> report.Run:
    read_records(Path(os.environ.get("MODELS_DIR", ROOT / "models")))
    print(
        f"{slo.users} users on {url}: {slo.ramp_seconds:g} s until all are there, "
        f"{slo.warm_up_seconds:g} s of warm-up, {slo.run_seconds:g} s measured",
        flush=True,
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    html = out / report.LOCUST if out else None
    measured = measure(run_locust(url, slo, html and html.resolve()))
    return report.Run(url, started, slo, measured, judge(slo, measured, unquiet))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.load", description=__doc__)
    parser.add_argument("--url", type=address, help="a running service; default: start one here")
    parser.add_argument(
        "--env", metavar="ENV", help="the environment that it is, if it has a gateway"
    )
    parser.add_argument("--slo", type=Path, default=ROOT / "load" / "slo.yaml", metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the report there")
    parser.add_argument("--users", type=_at_least_one, help="instead of those of the file")
    parser.add_argument(
        "--seconds", type=_at_least_one, help="measured time, instead of the file's"
    )
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
