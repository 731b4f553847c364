"""HTML out of elements, in which text cannot become markup. Pure.

A history holds whatever a client wrote, and a page is opened by whoever debugs it. So nobody escapes by hand here:
what is put into an element is escaped, unless it is `Html`, which only `element` and the package's own files make.
"""

from __future__ import annotations

from html import escape

VOID = frozenset({"br", "meta"})
"""Elements that have no end tag."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | int | None) -> Html:
    """One element. An attribute that is None is left out; `class_` stands for `class`, `data_x` for `data-x`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in VOID else f"</{name}>"
    return Html(f"<{name}{written}>{together(*children)}{end}")


def together(*children: str) -> Html:
    """One after another."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))
