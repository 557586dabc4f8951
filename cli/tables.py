"""Tables that read well in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; columns that hold numbers are set to the right."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    numeric = [
        all(_is_number(row[column]) or not row[column] for row in rows) and any(row[column] for row in rows)
        for column in range(len(head))
    ]

    def line(cells: Sequence[str]) -> str:
        set_out = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(set_out)} |"

    rule = [f"{'-' * (width - 1)}:" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return [line(head), line(rule), *(line(row) for row in rows)]


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").lstrip("+-").isdigit()
