"""How much of hypothesis runs in the tests: few examples, the same in each run, on any machine."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

bounded = settings(max_examples=25, derandomize=True, deadline=None, database=None)

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
"""Any text of Unicode, control characters included."""
