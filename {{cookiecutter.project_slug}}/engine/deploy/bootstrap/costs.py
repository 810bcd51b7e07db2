"""What it costs, roughly: list prices with where and when they were read.

Azure's prices differ by region, currency and contract. These are the prices of one region, East US,
in dollars without tax, read in published copies of Microsoft's price list; they say of which order
a bill will be, not what it will be. The places to ask are the calculator and the price list itself
(see docs/azure-setup.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.bootstrap.price import CALCULATOR, DAYS_A_MONTH, Cost, Price
from engine.deploy.config.environment import Environment
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import kind_named, kind_of

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
}


def registry() -> Cost:
    """A Basic registry: billed by the day, used or not."""
    month = PRICES["registry-basic-day"].dollars * DAYS_A_MONTH
    return Cost(month, f"about ${month:.0f} a month, with 10 GB of images")


def logs() -> Cost:
    """A workspace: nothing while it is empty."""
    return Cost(0.0, f"free up to 5 GB a month, then about ${PRICES['logs-gb'].dollars:.2f} per GB")


def running(environment: Environment) -> str:
    """What an environment costs while it runs, for people."""
    kind = kind_of(environment)
    hour = kind.hour(environment)
    if hour is None:
        return f"no price known here for {kind.unpriced(environment)}; see {CALCULATOR}"
    return kind.bill(environment, hour)


def prices() -> Iterator[Price]:
    """All of them, those of each kind of place too."""
    yield from PRICES.values()
    for name in kind_names():
        yield from kind_named(name).prices


def remark() -> str:
    """Where the prices come from, and that they are rough."""
    newest = max(price.seen for price in prices())
    return (
        f"Rough: list prices of East US in US dollars without tax, the newest read on {newest}. "
        f"For your region and contract: {CALCULATOR}"
    )
