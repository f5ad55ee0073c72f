"""The pictures of a report. Needs matplotlib."""

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402: the backend comes first
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

pyplot.rcParams |= {
    "figure.figsize": (10.5, 4.6),
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "font.size": 10,
}
PROMISE = {"color": "#b91c1c", "linestyle": "--", "linewidth": 1.2}
# Percentiles on the axis, by how much is above them.
NINES = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]


def draw(result, folder):
    """Makes each picture that there are figures for: title, note and file."""
    open_loop = [step for step in result["steps"] if "latency_ms" in step and step["answered"]]
    pictures = []
    for name, title, note, drawing, figures in (
        ("latency_percentiles", "Latency by percentile", "From the moment an event was due to its answer.", _percentiles, open_loop),
        ("latency_time", "Latency over time", "Each second of each open-loop step: p99 (solid), p50 (dotted).", _over_time, open_loop),
        ("throughput", "Throughput", "Left: open loop, each second. Right: the mean of each step, of every tool.", _throughput, result["steps"]),
        ("cpu", "CPU", "100 % is one core. The machine's share, generators included, is counted in ticks: short bursts escape it.", _cpu, _samples(result, "machine_cpu_s")),
        ("rss", "Resident memory", "Of the daemon.", _rss, _samples(result, "rss_kib")),
        ("disk", "Disk", "What the device writes, whoever asked for it, and what the data folder holds.", _disk, _samples(result, "data_bytes")),
    ):
        if not figures:
            continue
        path = folder / f"{name}.png"
        drawing(result, figures)
        pyplot.savefig(path)
        pyplot.close("all")
        pictures.append((title, note, path))
    return pictures


def _samples(result, key):
    rows = [row for row in result["samples"] if row.get(key) is not None]
    return rows if len(rows) > 2 else []


def _percentiles(result, steps):
    axes = pyplot.subplots()[1]
    for step in steps:
        points = [(quantile, ms) for quantile, ms in step["percentiles_ms"] if quantile < 1]
        axes.plot([1 / (1 - quantile) for quantile, _ in points], [ms for _, ms in points], marker=".", label=step["name"])
    axes.axhline(result["promise"]["p99_ms"], label="promise: p99", **PROMISE)
    axes.axvline(100, **PROMISE)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms")
    axes.xaxis.set_major_locator(FixedLocator([1 / (1 - nine) for nine in NINES]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (1 - 1 / value):.6g} %"))
    _plain(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _over_time(result, steps):
    axes = pyplot.subplots()[1]
    for step in steps:
        seconds = [row["second"] for row in step["series"]]
        line = axes.plot(seconds, [row["p99_us"] / 1000 for row in step["series"]], marker=_marker(seconds), label=step["name"])[0]
        axes.plot(seconds, [row["p50_us"] / 1000 for row in step["series"]], linestyle=":", color=line.get_color())
    axes.axhline(result["promise"]["p99_ms"], label="promise: p99", **PROMISE)
    axes.set(yscale="log", xlabel="seconds since the step began", ylabel="ms")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _throughput(result, steps):
    left, right = pyplot.subplots(1, 2)[1]
    for step in steps:
        if "series" in step:
            seconds = [row["second"] for row in step["series"]]
            left.plot(seconds, [row["events"] for row in step["series"]], marker=_marker(seconds), label=step["name"])
    left.axhline(result["promise"]["events_per_s"], label="promise", **PROMISE)
    left.set(xlabel="seconds since the step began", ylabel="events/s acknowledged", ylim=(0, None))
    # Room for the legend above the lines.
    left.set_ylim(0, left.get_ylim()[1] * 1.3)
    left.legend(loc="upper left", ncols=3, fontsize=9)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _thousands(left.yaxis)
    names = [step["name"] for step in steps][::-1]
    right.axvline(result["promise"]["events_per_s"], **PROMISE)
    bars = right.barh(names, [step["events_per_s"] for step in steps][::-1], color="#4878a8")
    right.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9, backgroundcolor="white")
    right.set(xlabel="events/s", xscale="log", xlim=(10, 2e7))
    _thousands(right.xaxis)
    right.xaxis.set_major_locator(FixedLocator([10, 1e3, 1e5, 1e7]))


def _cpu(result, rows):
    axes = _timeline(result)
    for key, label in (("machine_cpu_s", "machine"), ("cpu_s", "daemon")):
        times, shares = _slope(rows, key, 100)
        if times:
            axes.plot(times, shares, label=label)
    axes.set(ylabel="% of one core", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _rss(result, rows):
    axes = _timeline(result)
    axes.plot([row["t"] for row in rows], [row["rss_kib"] / 1024 for row in rows])
    axes.set(ylabel="MiB", ylim=(0, None))


def _disk(result, rows):
    axes = _timeline(result)
    times, rates = _slope(rows, "written_bytes", 1 / 2**20)
    lines = axes.plot([row["t"] for row in rows], [row["data_bytes"] / 2**20 for row in rows], label="data folder, MiB")
    axes.set(ylabel="MiB", ylim=(0, None))
    if times:
        other = axes.twinx()
        other.grid(False)
        lines += other.plot(times, rates, color="#c2703d", label="device writes, MiB/s")
        other.set(ylabel="MiB/s", ylim=(0, None))
        other.spines["right"].set_visible(True)
    axes.legend(lines, [line.get_label() for line in lines], loc="upper left")


def _timeline(result):
    """Axes over the whole run, each step's stretch named."""
    axes = pyplot.subplots()[1]
    for number, step in enumerate(result["steps"]):
        axes.axvspan(step["begun"], step["ended"], color="#64748b", alpha=0.10 if number % 2 else 0.03, linewidth=0)
        middle = (step["begun"] + step["ended"]) / 2
        axes.text(middle, 1.01, step["name"], transform=axes.get_xaxis_transform(), rotation=35, ha="left", va="bottom", fontsize=8)
    axes.set(xlabel="seconds since the run began")
    return axes


def _slope(rows, key, scale):
    """The growth of a counter, between each two looks."""
    seen = [row for row in rows if row.get(key) is not None]
    pairs = [(a, b) for a, b in zip(seen, seen[1:]) if b["t"] > a["t"]]
    return [b["t"] for _, b in pairs], [scale * (b[key] - a[key]) / (b["t"] - a["t"]) for a, b in pairs]


def _marker(points):
    return "." if len(points) < 100 else None


def _plain(axis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _thousands(axis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
