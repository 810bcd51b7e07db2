"""What an answer is made of."""

from __future__ import annotations

from typing import Final

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]
Answer = tuple[int, Headers, list[bytes | memoryview]]
"""Status, headers, and the pieces of the body."""

JSON: Final[Header] = (b"content-type", b"application/json")
# What nearly all answers have.
USUAL: Final[Headers] = (JSON,)
