"""Pieces of an HTML page that stands alone: no network, everything that is text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["lasso2d", "select2d"],
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1200px;
 margin: 0 auto; padding: 1.5rem; }}
h1 {{ margin: 0; }} h2 {{ margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; }}
h3 {{ margin: 0 0 .2rem; font-size: 1rem; }}
.verdict {{ font-size: 1.1rem; border-left: 4px solid #0072B2; padding: .4rem .9rem; background: #f3f7fa; }}
.note, figcaption {{ color: #555; font-size: .87rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e2e2e2; vertical-align: top; }}
.facts td {{ overflow-wrap: anywhere; }} .scroll th, .scroll td {{ white-space: nowrap; }}
tr.marked td {{ font-weight: 600; background: #f3f7fa; }}
.grid {{ display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.8rem 2rem; margin: 1.2rem 0 1.8rem; }}
@media (max-width: 900px) {{ .grid {{ grid-template-columns: minmax(0, 1fr); }} }}
figure {{ margin: 0; min-width: 0; }}
</style>
<script>{plotly}</script>
</head>
<body>
{body}
</body>
</html>
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page of HTML parts, with the library that draws its figures."""
    return _PAGE.format(title=text(title), plotly=get_plotlyjs(), body="\n".join(parts))


def text(found: object) -> str:
    return html.escape(str(found))


def heading(found: str) -> str:
    return f"<h2>{text(found)}</h2>"


def paragraph(found: str, kind: str = "") -> str:
    return f'<p class="{kind}">{text(found)}</p>' if kind else f"<p>{text(found)}</p>"


def facts(found: Mapping[str, object]) -> str:
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in found.items())
    return f'<table class="facts">{rows}</table>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], marked: Iterable[int] = ()) -> str:
    """A table of cells; rows whose numbers are `marked` stand out."""
    cells = [
        f"<tr{_MARKED if number in set(marked) else ''}>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>"
        for number, row in enumerate(rows)
    ]
    names = "".join(f"<th>{text(name)}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{"".join(cells)}</tbody></table></div>'


_MARKED = ' class="marked"'


def figure(name: str, title: str, drawn: go.Figure, caption: str) -> str:
    """A figure with its caption; `name` is its own on the page."""
    content = drawn.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"figure-{text(name)}")
    return f"<figure><h3>{text(title)}</h3>{content}<figcaption>{text(caption)}</figcaption></figure>"


def grid(figures: Iterable[str]) -> str:
    return f'<div class="grid">{"".join(figures)}</div>'
