"""One step of a profile: runs loadgen, k6 or wrk and brings what they say into one shape."""

import csv
import json
import os
import shlex
import subprocess
import time
from pathlib import Path

from .asker import Asker, socket_of
from .machine import KEPT_BACK
from .settings import Mistake

HERE = Path(__file__).resolve().parent.parent
# Connections come up at this pace even on a slow machine.
CONNECTS_PER_S = 100
# Client addresses: each has some 28,000 ports, which are found quickly while most are free.
PORTS = 10_000


class Bench:
    """What all steps of a run have in common."""

    def __init__(self, settings, profile, target, out, programs, seed, descriptors):
        self.settings, self.profile, self.target, self.out = settings, settings["profile"][profile], target, out
        self.programs, self.seed, self.descriptors = programs, seed, descriptors

    def run(self, name):
        """Runs a step; its figures, of which those that a tool does not have are absent."""
        step = self.settings["step"][name]
        before = self.target.totals() if self.target.own else None
        path = socket_of(self.target.data_dir) if "admin_ms" in step.get("judge", ()) else None
        asker = Asker(path) if path else None
        try:
            found = {"loadgen": self._loadgen, "k6": self._k6, "wrk": self._wrk}[step["tool"]](name, step)
        finally:
            admin = asker.stop() if asker else None
        if admin:
            found["admin_ms"] = admin
        found |= {"name": name, "tool": step["tool"], "judge": list(step.get("judge", ()))}
        after = self.target.totals() if before else None
        if after:
            found["daemon_counts"] = {key: after[key] - before[key] for key in after}
        return found

    def _loadgen(self, name, step):
        batch = step.get("batch", 1)
        events_per_s = self.settings["promise"]["events_per_s"] * step.get("rate_share", 1)
        report, series = self.out / f"{name}.json", self.out / f"{name}.csv"
        args = shlex.split(step["args"])
        opened = {}
        if "websockets" in step.get("judge", ()):
            opened = self._sockets()
            args += ["--connections", str(opened["connections_opened"])]
        connections = int(args[args.index("--connections") + 1])
        if self._is_loopback():
            args += ["--local-addresses", str(1 + connections // PORTS)]
        for option in ("bad", "duplicates"):
            if option in step:
                args += [f"--{option}", str(step[option])]
        if batch > 1:
            args += ["--batch", str(batch)]
        args += ["--address", self.target.address, "--rate", repr(events_per_s / batch), "--seed", str(self.seed)]
        args += ["--first", str(self._first()), "--warmup", str(self.profile["warmup"])]
        args += ["--duration", str(self.profile["seconds"]), "--drain", "30"]
        connect_within = 10 + connections // CONNECTS_PER_S
        # Closing many connections takes its time, too.
        limit = connect_within + self.profile["warmup"] + self.profile["seconds"] + 30 + connect_within
        args += ["--connect-timeout", str(connect_within), "--time-limit", str(limit)]
        args += ["--lag-limit", f"{self.settings['judge']['lag_p99_ms']}ms"]
        args += ["--json", str(report), "--series", str(series)]
        if self.target.pid:
            args += ["--pid", str(self.target.pid)]
        report.unlink(missing_ok=True)
        done = self._call("loadgen", args, limit + 60)
        if not report.exists():
            raise Mistake(f"{name}: loadgen failed: {_last(done)}")
        said = json.loads(report.read_text())
        return _of_loadgen(said, series, batch, step.get("bad", 0) > 0) | opened

    def _sockets(self):
        """How many connections are opened, and what keeps them from being as many as were promised."""
        promised, wanted = self.settings["promise"]["websockets"], self.profile["sockets"]
        # Ours and, on this machine, the daemon's.
        possible = self.descriptors - KEPT_BACK
        opened = max(1, min(promised, wanted, possible))
        limited = f"{self.descriptors} descriptors per process here" if opened < min(promised, wanted) else ""
        return {"connections_opened": opened, "limited": limited}

    def _first(self):
        # Each step's events are its own.
        self.steps_begun = getattr(self, "steps_begun", -1) + 1
        return self.steps_begun * 10_000_000_000

    def _is_loopback(self):
        return self.target.address.startswith("127.")

    def _k6(self, name, step):
        summary, script = self.out / f"{name}.json", HERE / "k6" / step["script"]
        summary.unlink(missing_ok=True)
        env = {"TARGET": self.target.url, "RATE": self.profile["k6_rate"], "SECONDS": self.profile["seconds"]}
        env |= {"SUMMARY": summary, "SEED": f"{self.seed}-{name}"}
        args = ["run", "--quiet", "--no-usage-report", "--no-color", str(script)]
        begun = time.monotonic()
        done = self._call("k6", args, self.profile["seconds"] * 2 + 240, env)
        if not summary.exists():
            raise Mistake(f"{name}: k6 failed: {_last(done)}")
        return _of_k6(json.loads(summary.read_text()), time.monotonic() - begun, done["cpu_s"])

    def _wrk(self, name, step):
        seconds = max(2, int(min(self.profile["seconds"], 30)))
        env = {"SEED": f"{self.seed}-{name}", "WRK_COMMON": HERE / "wrk" / "common.lua"}
        args = ["-t1", "-c64", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "wrk" / step["script"]), self.target.url]
        done = self._call("wrk", args, seconds + 120, env)
        lines = [line for line in done["output"].splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise Mistake(f"{name}: wrk failed: {_last(done)}")
        said = json.loads(lines[0].removeprefix("RESULT "))
        batch = 100 if "batch" in step["script"] else 1
        errors = {key: said[key] for key in ("connect", "read", "write", "timeout", "status")}
        return {
            "seconds": said["seconds"],
            "events_per_s": said["requests"] * batch / said["seconds"],
            "errors": errors,
            "generator": {"busy": done["cpu_s"] / said["seconds"]},
            "closed_loop_ms": {"p50": said["p50_ms"], "p99": said["p99_ms"]},
        }

    def _call(self, program, args, within, env=()):
        """Runs a program to its end; both outputs as one text, and its CPU seconds."""
        log = self.out / f"{program}.log"
        environment = os.environ | {key: str(value) for key, value in dict(env).items()}
        with open(log, "w+b") as output:
            process = subprocess.Popen(
                [self.programs[program], *args], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
            before = os.times()
            try:
                process.wait(within)
            except subprocess.TimeoutExpired as error:
                raise Mistake(f"{program} did not end within {within:.0f} s; its output is in {log}") from error
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            after = os.times()
            output.seek(0)
            text = output.read().decode(errors="replace")
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return {"output": text, "cpu_s": cpu, "code": process.returncode}


def _of_loadgen(said, series, batch, bad_planned):
    total, errors = said["total"], dict(said["errors"])
    errors |= {"refused": total["refused"], "failed": total["failed"], "unsent": said["unsent"]}
    if not bad_planned:
        errors["rejected"] = total["rejected"]
    generator, own = said["generator"], said["own_lag_us"]
    found = {
        "seconds": said["seconds"],
        "events_per_s": said["requests_per_s"] * batch,
        "events_per_s_asked": said["rate_asked"] * batch,
        "latency_ms": {key: value / 1000 for key, value in said["latency_us"].items()},
        "percentiles_ms": [[quantile, us / 1000] for quantile, us in said["percentiles_us"]],
        "errors": errors,
        "counts": {
            "accepted": total["accepted"],
            "duplicate": total["duplicates"],
            "rejected": total["rejected"],
            "refused": total["refused"],
        },
        "connections": said["connections"],
        "connections_up": said["connections_up"],
        "generator": {"busy": generator["busy"], "waited": generator["waited"], "lag_p99_ms": own["p99"] / 1000},
        "late": said["verdict"] == "inconclusive",
        "answered": said["total"]["answers"] > 0,
        "remarks": said["remarks"],
        "series": _series(series),
    }
    if said["server"]:
        found["rss_per_connection_kib"] = said["server"]["rss_per_connection_kib"]
        found["rss_mib"] = said["server"]["rss_kib"] / 1024
    return found


def _series(path):
    """The measured seconds; the last one is cut short by the end of the load and left out."""
    with open(path) as lines:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
    return [row for row in rows if row["requests"] > 0][:-1]


def _of_k6(said, seconds, cpu_s):
    metrics = said["metrics"]

    def count(name):
        return int(metrics.get(name, {}).get("values", {}).get("count", 0))

    checks = metrics.get("checks", {}).get("values", {})
    counts = {key: count(f"events_{key}") for key in ("accepted", "duplicate", "rejected", "refused")}
    duration = said["state"]["testRunDurationMs"] / 1000
    return {
        "seconds": duration,
        "events_per_s": sum(counts[key] for key in ("accepted", "duplicate", "rejected")) / max(duration, 1e-9),
        "counts": counts,
        "sent": count("events_sent"),
        "checks_passed": int(checks.get("passes", 0)),
        "errors": {"checks": int(checks.get("fails", 0)), "unsettled": count("events_sent") - sum(counts.values())},
        "dropped_iterations": count("dropped_iterations"),
        "generator": {"busy": cpu_s / max(seconds, 1e-9)},
    }


def _last(done):
    lines = [line for line in done["output"].splitlines() if line.strip()]
    return " | ".join(lines[-4:]) or f"it said nothing and ended with {done['code']}"
