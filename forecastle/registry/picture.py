"""The residuals as one static picture, for lists of artifacts that show no page."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecastle.registry.results import Results


def residual_picture(results: Results) -> Any:
    """Held-back rows: error against what was served, and the mean error over time, as a matplotlib figure."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display
    from matplotlib.ticker import MaxNLocator

    served = results.served_values
    errors = results.outcomes - served
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(served, errors, s=8, alpha=0.3, color="tab:blue", linewidths=0)
    left.axhline(0, color="black", linewidth=0.8)
    left.set(xlabel="served", ylabel="truth minus served", title=f"Residuals, {len(errors):,} held-back rows")
    left.set_xscale("symlog", linthresh=1)
    left.set_yscale("symlog", linthresh=1)
    blocks = [block for block in np.array_split(errors, min(20, max(1, len(errors)))) if len(block)]
    right.axhline(0, color="black", linewidth=0.8)
    right.plot([float(np.mean(np.abs(block))) for block in blocks], color="tab:red", label="mean absolute error")
    right.plot([float(np.mean(block)) for block in blocks], color="tab:blue", label="mean error")
    right.set(xlabel="time, in blocks of held-back rows", title="Error over time")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    return figure
