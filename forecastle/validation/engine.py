"""The one door to Great Expectations, which takes 6 s to import: nobody passes it before there is need to."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any


@cache
def great_expectations() -> Any:
    """The module, imported on the first call and made silent for good.

    Its log repeats what we raise, and shows cells, which people wrote.
    """
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL + 1)
    import great_expectations
    import great_expectations.expectations  # registers the expectations that suites name

    return great_expectations


def quiet_context() -> Any:
    """A fresh context that lives in memory, sends nothing home and shows no progress bars."""
    context = great_expectations().get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context
