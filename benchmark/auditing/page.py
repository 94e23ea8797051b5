"""The report as one page of HTML that needs nothing else: pictures are in it."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmark.auditing.report import Report
from benchmark.files.writing import write_whole
from benchmark.tracks.drawing import shown

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.answer { font-size: 1.15rem; border-left: 4px solid #c33; padding: .2rem 0 .2rem 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
figure { margin: 0; } figcaption { font-size: .8rem; opacity: .75; }
.strip { display: grid; grid-template-columns: repeat(5, minmax(90px, 1fr)); gap: .5rem; }
.strip { margin-bottom: 1rem; }
.strip img { width: 100%; image-rendering: pixelated; border-radius: 4px; background: var(--soft); }
"""
_COLUMNS = (
    ("pictures", "picture"),
    ("maps", "its map"),
    ("targets", "the target"),
    ("forged", "forged picture"),
    ("forged_maps", "its map now"),
)
_HEAD = ("explanation", "faked", "target before", "target after", "agrees", "tells", "seconds")
_SHOWN = 16
"""Pictures that are shown."""


def write_page(report: Report, folder: Path) -> Path:
    """Writes ``index.html`` into a folder, which is made where it is missing; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    write_whole(path, _page(report).encode("utf-8", "replace"))
    return path


def _page(report: Report) -> str:
    answer, *more = report.sentences() or ["The attack goes on."]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Audit of {html.escape(report.shown)} maps</title><style>{_STYLE}</style>",
        f"<h1>Can {html.escape(report.shown)} maps of this network be faked?</h1>",
        f"<p>{html.escape(_subject(report))}</p>",
        f"<p class=answer>{html.escape(answer)}</p>",
        *(f"<p>{html.escape(sentence)}</p>" for sentence in more),
        _table("Explanations under attack", _HEAD, report.rows()),
        "<p>Correlations, means over pictures with 95 % intervals. <em>agrees</em>: of natural maps with the "
        "undefended explainer's. <em>tells</em>: how much maps tell of their own picture rather than of the "
        "others, relative to undefended ones; a map that is always the same tells 0.</p>",
        _detectors(report),
        _pictures(report),
        _left_out(report),
        "</html>",
    ]
    return "\n".join(part for part in parts if part)


def _subject(report: Report) -> str:
    network = f"{report.network}, " if report.network else ""
    return f"{network}{report.count} pictures, changes of up to {report.budget * 255:.3g}/255."


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<h2>{html.escape(title)}</h2><div class=wide><table><tr>{names}</tr>{body}</table></div>"


def _detectors(report: Report) -> str:
    rows: list[tuple[str, ...]] = [
        (one.name, f"{one.auroc:.2f} [{one.low:.2f}, {one.high:.2f}]") for one in report.detected
    ]
    head = ("detector", "AUROC, forged against natural and noised pictures")
    return _table("What would detect it", head, rows)


def _left_out(report: Report) -> str:
    return _table("Not asked", ("method", "why"), list(report.left_out.items()))


def _pictures(report: Report) -> str:
    if not report.tensors:
        return ""
    strips = []
    for index in range(min(report.count, _SHOWN)):
        figures = []
        for name, caption in _COLUMNS:
            pixels = _image(name, report.tensors[name][index])
            label = f"{_called(report, index)} ({report.classes[index]})" if name == "pictures" else caption
            figures.append(
                f"<figure><img alt='{html.escape(label, quote=True)}' src='{pixels}'>"
                f"<figcaption>{html.escape(label)}</figcaption></figure>"
            )
        strips.append(f"<div class=strip>{''.join(figures)}</div>")
    return "<h2>Pictures</h2>" + "".join(strips)


def _called(report: Report, index: int) -> str:
    return report.names[index] if report.names else "picture"


def _image(name: str, values: Tensor) -> str:
    """A picture, or a map as white on black, its 99.5th percentile white, as an address of data."""
    if values.ndim == 2:
        top = torch.quantile(values.float().flatten(), 0.995).clamp_min(1e-12)
        values = (values / top).unsqueeze(0)
    buffer = io.BytesIO()
    Image.fromarray(shown(values)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
