"""Seeds come from named parts by SHA-256: never from global state, order or a counter."""

from __future__ import annotations

import hashlib
import json


def seed_of(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on exactly the named parts."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
