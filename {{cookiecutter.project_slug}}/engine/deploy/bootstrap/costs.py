"""What it costs, roughly: list prices with where and when they were read.

Azure's prices differ by region, currency and contract. These are the prices of one region, East US,
in dollars without tax, read in published copies of Microsoft's price list; they say of which order
a bill will be, not what it will be. The places to ask are the calculator and the price list itself
(see docs/azure-setup.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.deploy.config.environment import Environment

CALCULATOR = "https://azure.microsoft.com/pricing/calculator/"
HOURS_A_MONTH = 730
DAYS_A_MONTH = 30.4


@dataclass(frozen=True, slots=True)
class Price:
    """One list price, in US dollars. ``seen`` is the day, or the month, it was read."""

    dollars: float
    unit: str
    source: str
    seen: str


_RETAIL = "published copy of the Azure Retail Prices API, region eastus"

PRICES = {
    "registry-basic-day": Price(
        0.167, "day", "Microsoft Learn, service tiers of Container Registry", "2026-06"
    ),
    "registry-storage-gb-day": Price(
        0.003, "GB and day beyond 10 GB", "Microsoft Learn, the same page", "2026-06"
    ),
    "logs-gb": Price(
        2.30, "GB of logs beyond 5 GB a month", "published comparison of Azure Monitor", "2026"
    ),
    "aci-vcpu-hour": Price(0.0405, "vCPU and hour", _RETAIL, "2026-08-27"),
    "aci-memory-gb-hour": Price(0.00445, "GB and hour", _RETAIL, "2026-08-27"),
    "apps-vcpu-second": Price(0.000024, "vCPU and second", _RETAIL, "2026-08-01"),
    "apps-memory-gb-second": Price(0.000003, "GiB and second", _RETAIL, "2026-08-01"),
    "apps-t4-second": Price(0.000073, "T4 and second", _RETAIL, "2026-08-01"),
    "apps-a100-second": Price(0.000529, "A100 and second", _RETAIL, "2026-08-01"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """``month`` is in dollars, for being there; ``text`` says it to a person."""

    month: float
    text: str


FREE = Cost(0.0, "free")


def registry() -> Cost:
    """A Basic registry: billed by the day, used or not."""
    month = PRICES["registry-basic-day"].dollars * DAYS_A_MONTH
    return Cost(month, f"about ${month:.0f} a month, with 10 GB of images")


def logs() -> Cost:
    """A workspace: nothing while it is empty."""
    return Cost(0.0, f"free up to 5 GB a month, then about ${PRICES['logs-gb'].dollars:.2f} per GB")


def running_hour(environment: Environment) -> float | None:
    """Dollars for one hour of one running copy; None where no price is known."""
    if environment.target == "aci":
        if environment.gpu != "none":
            return None
        cpu, memory = PRICES["aci-vcpu-hour"].dollars, PRICES["aci-memory-gb-hour"].dollars
        return environment.cpu * cpu + environment.memory_gb * memory
    cpu, memory = PRICES["apps-vcpu-second"].dollars, PRICES["apps-memory-gb-second"].dollars
    second = environment.cpu * cpu + environment.memory_gb * memory
    if environment.gpu != "none":
        gpu = PRICES.get(f"apps-{environment.gpu}-second")
        if gpu is None:
            return None
        second += environment.gpu_count * gpu.dollars
    return second * 3600


def running(environment: Environment) -> str:
    """What an environment costs while it runs, for people."""
    hour = running_hour(environment)
    if hour is None:
        return f"no price known here for a {environment.gpu}; see {CALCULATOR}"
    always_on = f"${hour * HOURS_A_MONTH:.0f} a month"
    if environment.target == "aci":
        return f"about ${hour:.3f} an hour, {always_on} when it never stops"
    if environment.replicas.min == 0:
        return f"about ${hour:.3f} an hour per copy while there are requests, nothing when idle"
    copies = environment.replicas.min
    month = f"at most ${hour * HOURS_A_MONTH * copies:.0f} a month"
    return f"about ${hour:.3f} an hour per copy; {copies} always run: {month}"


def remark() -> str:
    """Where the prices come from, and that they are rough."""
    newest = max(price.seen for price in PRICES.values())
    return (
        f"Rough: list prices of East US in US dollars without tax, the newest read on {newest}. "
        f"For your region and contract: {CALCULATOR}"
    )
