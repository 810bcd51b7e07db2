"""One price of Azure's list: with where and when it was read."""

from __future__ import annotations

from dataclasses import dataclass

RETAIL = "published copy of the Azure Retail Prices API, region eastus"
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


@dataclass(frozen=True, slots=True)
class Cost:
    """``month`` is in dollars, for being there; ``text`` says it to a person."""

    month: float
    text: str


FREE = Cost(0.0, "free")
