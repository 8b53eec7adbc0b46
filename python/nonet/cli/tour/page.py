"""The page of the tour: one file, with its pictures inside."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet import io

if TYPE_CHECKING:
    from nonet.cli.tour.common import Found
    from nonet.cli.tour.entries import Entry

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{margin-bottom:.2rem}h2{margin:2.4rem 0 .2rem;border-top:1px solid #ddd;padding-top:1.2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e4e4e4}td.n,th.n{text-align:right}
.good{color:#00684b}.bad{color:#b00020;font-weight:600}.grey{color:#666}
figure{margin:1rem 0}figcaption{color:#666;font-size:.9rem}
img{max-width:100%;image-rendering:pixelated}img.smooth{image-rendering:auto}
pre{background:#f6f6f6;padding:.8rem;overflow-x:auto;white-space:pre-wrap;font-size:.85rem}
@media (prefers-color-scheme:dark){body{background:#151515;color:#e8e8e8}th,td{border-color:#333}h2{border-color:#333}
pre{background:#222}.grey,figcaption{color:#aaa}.good{color:#4fd1a5}.bad{color:#ff6b81}img.smooth{background:#fff}}
"""


def write_page(
    path: Path, rows: Sequence[tuple[Entry, Found, float]], seconds: float, machine: dict[str, Any]
) -> None:
    """Writes index.html atomically; it refers to no other file and no other site."""
    failed = [entry for entry, found, _ in rows if not found.beaten]
    verdict = (
        '<span class="good">all above their floors</span>'
        if not failed
        else f'<span class="bad">{len(failed)} not above the floor</span>'
    )
    where = (
        f"nonet {machine['nonet']} on {machine['processor']}, {machine['cpus']} processors, "
        f"{machine['threads']} threads, {machine['isa']}, Python {machine['python']}"
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>nonet tour</title><style>{_STYLE}</style></head><body>",
        f"<h1>nonet tour</h1><p>{len(rows)} models, trained on this machine in {seconds:.0f} s: {verdict}.</p>",
        f'<p class="grey">{html.escape(where)}</p>',
        _summary(rows),
        *(_section(*row) for row in rows),
        "</body></html>\n",
    ]
    io.write_text(path, "\n".join(parts))


def _summary(rows: Sequence[tuple[Entry, Found, float]]) -> str:
    head = (
        '<table><tr><th>model</th><th>task</th><th>metric</th><th class="n">value</th><th class="n">floor</th>'
        '<th>floor is</th><th class="n">margin</th><th class="n">seconds</th></tr>'
    )
    lines = []
    for entry, found, seconds in rows:
        kind = "good" if found.beaten else "bad"
        lines.append(
            f'<tr><td><a href="#{entry.name}">{html.escape(entry.title)}</a></td><td>{html.escape(entry.task)}</td>'
            f'<td>{html.escape(found.metric)}</td><td class="n {kind}">{found.value:.4f}</td>'
            f'<td class="n">{found.floor:.4f}</td><td>{html.escape(found.floor_is)}</td>'
            f'<td class="n {kind}">{found.margin:+.4f}</td><td class="n">{seconds:.1f}</td></tr>'
        )
    return head + "".join(lines) + "</table>"


def _section(entry: Entry, found: Found, seconds: float) -> str:
    better = "higher" if found.higher_is_better else "lower"
    kind = "good" if found.beaten else "bad"
    parts = [
        f'<h2 id="{entry.name}">{html.escape(entry.title)}</h2>',
        f"<p>{html.escape(entry.task[0].upper() + entry.task[1:])}. {found.parameters:,} parameters, "
        f"{found.steps:,} steps in {seconds:.1f} s.<br>"
        f'{html.escape(found.metric)} <b class="{kind}">{found.value:.4f}</b> against {found.floor:.4f} '
        f"({html.escape(found.floor_is)}; {better} is better).</p>",
        _curve(found.curve),
    ]
    for caption, picture in found.pictures:
        code = base64.b64encode(picture.read_bytes()).decode("ascii")
        parts.append(
            f'<figure><img src="data:image/png;base64,{code}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    for caption, text in found.texts:
        parts.append(
            f"<figure><pre>{html.escape(text)}</pre><figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    facts = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in found.facts.items()]
    if facts:
        parts.append(f'<p class="grey">{html.escape("; ".join(facts))}</p>')
    return "\n".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _curve(losses: Sequence[float], width: int = 520, height: int = 110) -> str:
    """The loss of every epoch as a line, in SVG; nothing for fewer than two."""
    values = [v for v in losses if math.isfinite(v)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = " ".join(
        f"{8 + i * (width - 16) / (len(values) - 1):.1f},{8 + (high - v) * (height - 16) / span:.1f}"
        for i, v in enumerate(values)
    )
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="training loss"><polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="2"/>'
        f"</svg><figcaption>training loss over {len(values)} epochs: {values[0]:.4f} to {values[-1]:.4f}"
        "</figcaption></figure>"
    )
