"""What the makers and the checkers of the models share."""

from __future__ import annotations

INPUT = "features"
OUTPUT = "probabilities"
HALF = "half"
FREE = "free"
POISON = "poison"
# The first number of a request that makes `poison` break the device.
BREAKING = 666.0
