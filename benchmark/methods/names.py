"""How methods are named."""

from __future__ import annotations

import re

METHOD_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Of a submission, and of its folder."""
