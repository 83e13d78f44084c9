"""The few pieces of HTML that all sections of the report are made of; every text that comes in is escaped."""

import html
from collections.abc import Iterable


def text(value: object) -> str:
    """Anything as text that is no markup.

    >>> text("<b>")
    '&lt;b&gt;'
    """
    return html.escape(str(value))


def section(title: str, *parts: str, name: str = "") -> str:
    """A part of the page under a heading; `name` is for links and scripts. Parts are HTML."""
    named = f' id="{name}"' if name else ""
    return f"<section{named}><h2>{text(title)}</h2>{''.join(parts)}</section>"


def paragraph(words: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{text(words)}</p>"


def items(lines: Iterable[str], *, kind: str = "") -> str:
    """A list of plain texts, of a class of the style sheet."""
    return f'<ul class="{kind}">{"".join(f"<li>{text(line)}</li>" for line in lines)}</ul>'


def facts(pairs: Iterable[tuple[str, str]], *, kind: str) -> str:
    """Names with what they are, as plain texts."""
    cells = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="{kind}">{cells}</dl>'
