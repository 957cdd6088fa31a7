"""Verdicts as a small piece of HTML, for notebooks: a word, never a colour alone."""

from __future__ import annotations

import html
from collections.abc import Mapping

from workbench.checkers.verdict import Verdict

_SIGNS = {
    "valid": ("✓", "#00694d", "#dcf3ea"),
    "invalid": ("✗", "#a33f00", "#fde7da"),
    "unknown": ("?", "#444", "#e9ebef"),
}


def verdicts_html(verdicts: Mapping[str, Verdict], sentences: Mapping[str, str]) -> str:
    """A list of claims, each with its verdict, and why where it did not hold."""
    lines = []
    for name, verdict in verdicts.items():
        sign, ink, paper = _SIGNS[verdict.status]
        badge = (
            f'<span style="color:{ink};background:{paper};border-radius:1em;padding:.05em .6em;font-weight:600">'
            f"{sign} {verdict.status}</span>"
        )
        why = "" if verdict.status == "valid" else f"<br><small>{html.escape(verdict.reason)}</small>"
        sentence = html.escape(sentences.get(name, name))
        lines.append(
            f'<li style="margin:.35em 0" title="{html.escape(verdict.reason, quote=True)}">{badge} {sentence}{why}</li>'
        )
    return f'<ul style="list-style:none;padding:0;margin:.6em 0">{"".join(lines)}</ul>'
