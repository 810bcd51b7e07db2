"""The live part: numbers that agree with /metrics, faults that show, and rest when nobody looks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.monitoring.packages import slow
from tests.service.running import running

from .asking import post, quantile, total
from .conftest import Visit

pytestmark = pytest.mark.slow
PERIOD_MS = 2000
FLOWER = '{"data": [[5.9, 3.0, 5.1, 1.8]]}'
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@contextmanager
def load(url: str, *bodies: str, pause: float = 0.005) -> Iterator[None]:
    """One client for each body, which asks again so many seconds after it is answered."""
    done = threading.Event()

    def ask(body: str) -> None:
        with httpx.Client(base_url=url, headers={"Content-Type": "application/json"}) as client:
            while not done.wait(pause):
                client.post("/predict", content=body)

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def caption(page: Page, chart: str) -> dict[str, float]:
    """The current values of a chart: in requests a second, seconds, or rows."""
    text = page.locator(f"figure[data-chart='{chart}'] .legend").inner_text()
    values = re.findall(r"([a-z][a-z0-9 ]*?)\s+([\d.,]+)(/s| ms| s)?(?:\s|$)", text)
    return {
        name: float(value.replace(",", "")) / (1000 if unit == " ms" else 1)
        for name, value, unit in values
    }


def path_of(page: Page, chart: str, line: str = "s0") -> str:
    """What is drawn of a line."""
    selector = f"figure[data-chart='{chart}'] path.{line}"
    return page.locator(selector).get_attribute("d") or ""


def test_captions_agree_with_metrics_under_load(url: str, visit: Visit) -> None:
    page = visit(url)
    scrapes: list[str] = []
    page.on(
        "response",
        lambda answer: scrapes.append(answer.text()) if answer.url.endswith("/metrics") else None,
    )
    with load(url, FLOWER, FLOWER, "{"):
        page.wait_for_timeout(4 * PERIOD_MS)
        page.get_by_role("button", name="Pause").click()
        page.wait_for_timeout(PERIOD_MS)
    before, after = scrapes[-2:]
    shown = caption(page, "Latency")
    for name, part in QUANTILES.items():
        assert shown[name] == pytest.approx(quantile(before, after, part), rel=0.01)

    def grown(name: str, *labels: str) -> float:
        return total(after, name, *labels) - total(before, name, *labels)

    rate = caption(page, "Requests")
    every, ok = grown("inference_requests_total"), grown("inference_requests_total", 'status="200"')
    assert every > ok > 0
    assert rate["failed"] / rate["all"] == pytest.approx((every - ok) / every, rel=0.02)
    assert rate["all"] == pytest.approx(every / (PERIOD_MS / 1000), rel=0.2)
    rows = grown("inference_batch_rows_sum") / grown("inference_batch_rows_count")
    assert caption(page, "Batch size")["rows in a run"] == pytest.approx(rows, rel=0.01)


def test_charts_move_and_can_be_read_without_being_seen(url: str, visit: Visit) -> None:
    page = visit(url)
    with load(url, FLOWER):
        page.wait_for_timeout(3 * PERIOD_MS)
        first = {chart: path_of(page, chart) for chart in ("Requests", "Latency", "Batch size")}
        page.wait_for_timeout(2 * PERIOD_MS)
        for chart, path in first.items():
            assert path.count(",") >= 2
            assert path_of(page, chart) != path
        image = page.get_by_role("img", name=re.compile("^Requests: all .*, highest .*; failed"))
        expect(image).to_have_count(1)
        page.get_by_text("The charts as a table").click()
        row = page.get_by_role("row", name=re.compile("^Latency, p95"))
        expect(row).to_contain_text(re.compile(r"p95([\d.]+ ms){3}"))
        expect(page.locator("#figures")).to_contain_text(re.compile(r"Server lag\s*[\d.]+ ms"))
        expect(page.locator("#figures")).to_contain_text(re.compile(r"Memory\s*[\d.]+ [MG]iB"))


def test_a_slow_model_and_overload_are_seen(
    service_python: Path, rendered_service: Path, visit: Visit, tmp_path: Path
) -> None:
    models = str(slow(rendered_service, tmp_path / "models"))
    limits = {"COMPUTE_LANES": "1", "MAX_BATCH_ROWS": "1", "MAX_QUEUE_ROWS": "2"}
    with running(service_python, rendered_service, MODELS_DIR=models, **limits) as url:
        page = visit(url, expects="net::ERR")  # the service stops before the page does
        with load(url, *[FLOWER] * 6, pause=0.1):
            queue = page.locator("figure[data-chart='Queue'] .legend")
            expect(queue).to_have_text(
                re.compile(r"rows waiting [12].*refused [\d.,]*[1-9]"), timeout=20_000
            )
            assert path_of(page, "Queue", "marks") != ""
            # A second in which everybody was refused shows how fast that is.
            until = time.monotonic() + 20
            while caption(page, "Latency")["p99"] <= 0.3:
                assert time.monotonic() < until
                page.wait_for_timeout(PERIOD_MS)


def test_a_metric_that_is_missing_leaves_out_its_chart(url: str, visit: Visit) -> None:
    page = visit(url)
    expect(page.locator("figure")).to_have_count(4)
    text = httpx.get(f"{url}/metrics").text
    fewer = "\n".join(line for line in text.splitlines() if "inference_queue_rows" not in line)
    page.route("**/metrics", lambda route: route.fulfill(body=fewer))
    page.reload()
    expect(page.locator("figure")).to_have_count(3)
    page.unroute("**/metrics")
    expect(page.locator("figure")).to_have_count(4)


def test_a_restart_leaves_a_gap_and_no_wrong_number(url: str, visit: Visit) -> None:
    """After a restart counters begin at zero; the difference would be negative."""
    page = visit(url)
    post(url, FLOWER)
    page.wait_for_timeout(2 * PERIOD_MS)
    zero = re.sub(r"(?m)^(\w+_total\S*) \S+$", r"\1 0", httpx.get(f"{url}/metrics").text)
    page.route("**/metrics", lambda route: route.fulfill(body=zero))
    legend = page.locator("figure[data-chart='Requests'] .legend")
    expect(legend).to_have_text("all \N{EN DASH}failed \N{EN DASH}")
    page.unroute("**/metrics")


def test_it_rests_while_hidden_or_paused(url: str, visit: Visit) -> None:
    page = visit(url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.locator("figure")).to_have_count(4)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(PERIOD_MS)
    asked.clear()
    page.wait_for_timeout(2 * PERIOD_MS)
    assert asked == []
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(PERIOD_MS)
    assert asked != []
    hide = "Object.defineProperty(document, 'hidden', {get: () => HIDDEN, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide.replace("HIDDEN", "true"))
    page.wait_for_timeout(PERIOD_MS)
    asked.clear()
    page.wait_for_timeout(2 * PERIOD_MS)
    assert asked == []
    page.evaluate(hide.replace("HIDDEN", "false"))
    page.wait_for_timeout(PERIOD_MS)
    assert asked != []


def test_a_service_that_is_gone_is_said(
    service_python: Path, rendered_service: Path, visit: Visit
) -> None:
    with running(service_python, rendered_service) as gone:
        page = visit(gone, expects="net::ERR")
        expect(page.locator("#state")).to_have_text("Ready")
        page.route("**/*", lambda route: route.abort())
        expect(page.locator("#notices")).to_contain_text("The service cannot be reached")
        page.unroute("**/*")
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.locator("#notices")).to_be_empty()
