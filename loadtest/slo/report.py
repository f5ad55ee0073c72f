"""The report of a run: pictures, and one HTML file that holds them. Run as `python -m slo.report DIR`."""

import base64
import html
import json
import sys
from pathlib import Path

from . import plots
from .main import disk_words, generator_words

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #dde2e8; }
td:first-child { white-space: nowrap; } td.number { font-variant-numeric: tabular-nums; }
.why { color: #5b6675; display: block; }
.badge { font-weight: 600; white-space: nowrap; padding: .1rem .5rem; border-radius: .3rem; }
.met { background: #d9f0e0; color: #14532d; } .MISSED { background: #fbdada; color: #7f1d1d; }
.inconclusive { background: #fdecc8; color: #713f12; } .not-tried { background: #e8ebef; color: #3f4854; }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0 1.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { color: #5b6675; } dd { margin: 0; }
"""


def page(result, pictures):
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>Load test: {html.escape(result['verdict'])}</title><style>{STYLE}</style>",
        f"<h1>Load test, profile {html.escape(result['profile'])}: {_badge(result['verdict'])}</h1>",
        _facts(result),
        "<h2>Verdicts</h2>",
        _verdicts(result["rows"]),
        "<h2>Steps</h2>",
        _steps(result["steps"]),
    ]
    for title, note, path in pictures:
        image = base64.b64encode(path.read_bytes()).decode()
        parts.append(f"<h2>{html.escape(title)}</h2><p>{html.escape(note)}</p>")
        parts.append(f'<img alt="{html.escape(title)}" src="data:image/png;base64,{image}">')
    return "\n".join(parts) + "\n"


def _badge(status):
    return f'<span class="badge {status.replace(" ", "-")}">{html.escape(status)}</span>'


def _facts(result):
    machine, promise = result["machine"], result["promise"]
    facts = {
        "started": result["started"],
        "tested": f"{result['target']}, load test of {result['commit']}",
        "promised": f"{promise['events_per_s']:,} events/s, p99 < {promise['p99_ms']:g} ms, "
        f"{promise['errors']} errors, {promise['websockets']:,} WebSockets, admin status p99 < {promise['admin_ms']:g} ms",
        "machine": f"{machine['cpu']}, {machine['memory_gib']} GiB, kernel {machine['kernel']}, "
        f"{machine['descriptors']:,} descriptors, load average {machine['load_average']:.2f} at the start",
        "disk": f"{machine['disk']}: {disk_words(result['fsync'])}",
    }
    return "<dl>" + "".join(f"<dt>{html.escape(k)}<dd>{html.escape(v)}" for k, v in facts.items()) + "</dl>"


def _verdicts(rows):
    lines = ["<table><tr><th>step<th>promise<th>wanted<th>found<th>verdict"]
    for row in rows:
        why = f'<span class=why>{html.escape(row["why"])}</span>' if row["why"] else ""
        cells = "".join(f"<td>{html.escape(row[key])}" for key in ("step", "promise", "wanted", "found"))
        lines.append(f"<tr>{cells}{why}<td>{_badge(row['status'])}")
    return "\n".join(lines) + "</table>"


def _steps(steps):
    lines = ["<table><tr><th>step<th>tool<th>events/s<th>p50 / p99 / p99.9 ms<th>the generator itself"]
    for step in steps:
        latency = step.get("latency_ms")
        quantiles = " / ".join(f"{latency[key]:.2f}" for key in ("p50", "p99", "p999")) if latency else "not from this tool"
        cells = (step["name"], step["tool"], f"{step['events_per_s']:,.0f}", quantiles, generator_words(step))
        lines.append("<tr>" + "".join(f"<td class=number>{html.escape(cell)}" for cell in cells))
    return "\n".join(lines) + "</table>"


def main(folder):
    folder = Path(folder)
    result = json.loads((folder / "result.json").read_text())
    pictures = plots.draw(result, folder)
    (folder / "report.html").write_text(page(result, pictures))


if __name__ == "__main__":
    main(sys.argv[1])
