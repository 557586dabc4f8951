"""Trees of any shape, for tests of what walks through them."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from forecastle.learning.forms import Tree

# Few thresholds, which numbers hit exactly; thresholds of single trees are single-precision numbers.
THRESHOLDS = st.sampled_from([-1.5, 0.0, 0.5, 1.0, 2.0])
NUMBERS = THRESHOLDS | st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.nextafter(2.0, 0.0)) | st.just(math.inf)


@st.composite
def trees(draw: st.DrawFn, names: int = 3) -> Tree:
    """A tree of any shape, from a single leaf to twenty of them in a row; its nodes stand in the order they grew."""
    nodes: list[list[float]] = [[-1, 0.0, -1, -1, False, draw(st.floats(-5, 5))]]
    for _ in range(draw(st.integers(0, 20))):
        leaf = draw(st.sampled_from([number for number, node in enumerate(nodes) if node[0] < 0]))
        nodes[leaf][:5] = [
            draw(st.integers(0, names - 1)),
            draw(THRESHOLDS),
            len(nodes),
            len(nodes) + 1,
            draw(st.booleans()),
        ]
        nodes += [[-1, 0.0, -1, -1, False, draw(st.floats(-5, 5))] for _ in range(2)]
    feature, threshold, left, right, missing_left, value = (tuple(part) for part in zip(*nodes, strict=True))
    return Tree(feature, threshold, left, right, missing_left, value)  # type: ignore[arg-type]
