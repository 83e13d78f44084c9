"""Numbers and tables as people read them in a terminal."""

from collections.abc import Sequence

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float, unit: str) -> str:
    """A number with its unit, short.

    >>> amount(12_345_678, "MACs"), amount(4.5, "ms"), amount(999.6, "ms"), amount(0.0432, ""), amount(999_960, "bytes")
    ('12.3 M', '4.50 ms', '1,000 ms', '0.04320', '1 MB')
    """
    if unit in ("MACs", "parameters", "bytes"):
        factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(float(f"{value:.3g}")) >= f), (1.0, ""))
        return f"{value / factor:.3g} {prefix}{'B' if unit == 'bytes' else ''}".strip()
    digits = f"{value:#.3g}" if unit else f"{value:#.4g}"
    if unit and abs(float(digits)) >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{digits.rstrip('.')} {unit}".strip()


def brief(value: float) -> str:
    """A number by two digits, never by a power of ten.

    >>> brief(0.5432), brief(283.4)
    ('0.54', '280')
    """
    return f"{float(f'{value:.2g}'):,.15g}"


def text_table(rows: Sequence[Sequence[str]], *, num_left: int = 1) -> str:
    """Rows of equal length in aligned columns, the first few of them to the left and the rest to the right.

    >>> print(text_table([("", "x"), ("one", "1,000"), ("two", "2")]))
             x
    one  1,000
    two      2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(w) if i < num_left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
