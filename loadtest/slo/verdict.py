"""What the figures mean: a row for each promise that a step is held to. Pure: figures in, rows out."""

MET, MISSED, INCONCLUSIVE, NOT_TRIED = "met", "MISSED", "inconclusive", "not tried"


def judge(settings, steps, disk, audit=None, drained=None):
    """All rows of a run. `disk` is what fsync takes, or None where it could not be measured."""
    rows = []
    for step in steps:
        for promise in step["judge"] or ["errors"]:
            rows.append(_ROWS[promise](settings, step, disk))
        if "daemon_counts" in step and "counts" in step:
            rows.append(_balance(step))
    if audit is not None:
        balanced, words = audit
        rows.append(_row("account", "balances", "each accepted event has its place", words, MET if balanced else MISSED))
    if drained is not None:
        status = MET if drained == 0 else MISSED
        rows.append(_row("drain", "ends with 0", "exit code 0", f"exit code {drained}", status))
    return rows


def outcome(rows):
    """The run's verdict: the worst that a row has, and nothing judged is nothing proved."""
    statuses = {row["status"] for row in rows}
    for status in (MISSED, INCONCLUSIVE, MET):
        if status in statuses:
            return status
    return INCONCLUSIVE


def _row(step, promise, wanted, found, status, why=""):
    return {"step": step, "promise": promise, "wanted": wanted, "found": found, "status": status, "why": why}


def _late(step):
    lag = step["generator"]["lag_p99_ms"]
    return f"the generator itself was late: own lag p99 {lag:.2f} ms" if step["late"] else ""


def _starved(settings, step):
    waited = step["generator"]["waited"]
    if waited <= settings["judge"]["waited_max"]:
        return ""
    return f"the generator was starved: it waited for a core {waited:.0%} of the time"


def _rate(settings, step, _disk):
    asked, found = step["events_per_s_asked"], step["events_per_s"]
    why = ""
    if found >= asked * settings["judge"]["sustained"] and not step["errors"]["unsent"]:
        status = MET
    elif why := _late(step) or _starved(settings, step):
        status = INCONCLUSIVE
    else:
        status = MISSED
    return _row(step["name"], "throughput", f"{asked:,.0f} ev/s", f"{found:,.0f} ev/s", status, why)


def _latency(settings, step, disk):
    limit, p99 = settings["promise"]["p99_ms"], step["latency_ms"]["p99"]
    wanted, found = f"p99 < {limit:g} ms", f"p99 {p99:.2f} ms, p99.9 {step['latency_ms']['p999']:.2f} ms"
    if disk and disk["p99_ms"] >= limit:
        why = f"no claim: this disk's own fsync takes {disk['p99_ms']:.2f} ms (p99), longer than the promise"
        return _row(step["name"], "latency", wanted, found, INCONCLUSIVE, why)
    if not step["answered"]:
        return _row(step["name"], "latency", wanted, "no answer", MISSED)
    if not disk:
        why = "no claim: the disk, which may be what decides, was not measured (--data-dir DIR, if it is on this machine)"
        return _row(step["name"], "latency", wanted, found, INCONCLUSIVE, why)
    if why := _late(step):
        return _row(step["name"], "latency", wanted, found, INCONCLUSIVE, why)
    if p99 < limit:
        return _row(step["name"], "latency", wanted, found, MET)
    # What it takes to read an answer late is in the figure: a starved generator proves a pass, but no miss.
    why = _starved(settings, step)
    return _row(step["name"], "latency", wanted, found, INCONCLUSIVE if why else MISSED, why)


def _errors(settings, step, _disk):
    limit = settings["promise"]["errors"]
    found = {name: count for name, count in step["errors"].items() if count}
    total = sum(found.values())
    words = ", ".join(f"{name} {count:,}" for name, count in found.items()) or "none"
    if "checks_passed" in step:
        words += f", {step['checks_passed']:,} checks passed"
    done = step.get("checks_passed", 1) > 0 and step.get("answered", True)
    if not done:
        words = "nothing was answered"
    dropped = step.get("dropped_iterations")
    why = f"k6 did not keep up: {dropped:,} requests never made" if dropped else ""
    return _row(step["name"], "errors", f"at most {limit}", words, MET if done and total <= limit else MISSED, why)


def _websockets(settings, step, _disk):
    promised, opened, up = settings["promise"]["websockets"], step["connections_opened"], step["connections_up"]
    dropped = step["errors"]["closed"]
    found = f"{up:,} up, {dropped:,} dropped, p99 {step['latency_ms']['p99']:.2f} ms"
    if "rss_per_connection_kib" in step:
        found += f", {step['rss_per_connection_kib']:.2f} KiB each"
    wanted = f"{promised:,} at once"
    if up < opened or dropped:
        return _row(step["name"], "websockets", wanted, found, MISSED, f"{opened:,} were opened")
    if opened == promised:
        return _row(step["name"], "websockets", wanted, found, MET)
    if step["limited"]:
        return _row(step["name"], "websockets", wanted, found, INCONCLUSIVE, f"{step['limited']}: see `make sockets`")
    return _row(step["name"], "websockets", wanted, found, NOT_TRIED, f"this profile opens {opened:,}")


def _admin(settings, step, _disk):
    limit = settings["promise"]["admin_ms"]
    wanted = f"admin status p99 < {limit:g} ms"
    took = step.get("admin_ms")
    if not took:
        why = "its admin socket is not known: --data-dir DIR, if it is on this machine"
        return _row(step["name"], "admin", wanted, "not asked", NOT_TRIED, why)
    found = f"p50 {took['p50']:.2f} p99 {took['p99']:.2f} max {took['max']:.2f} ms of {took['answered']:,}"
    if took["failed"] or not took["answered"]:
        return _row(step["name"], "admin", wanted, f"{found}, {took['failed']:,} not answered", MISSED)
    if took["p99"] < limit:
        return _row(step["name"], "admin", wanted, found, MET)
    if took["p99_unhindered"] < limit:
        why = f"who asked waited for a core: p99 {took['p99_unhindered']:.2f} ms without that"
        return _row(step["name"], "admin", wanted, found, INCONCLUSIVE, why)
    return _row(step["name"], "admin", wanted, found, MISSED)


def _balance(step):
    """What the clients were told and what the daemon has counted are the same."""
    told, counted = step["counts"], {key: step["daemon_counts"][key] for key in step["counts"]}
    words = "the same" if told == counted else f"clients {told}, daemon {counted}"
    return _row(step["name"], "counts", "clients' = daemon's", words, MET if told == counted else MISSED)


_ROWS = {"events_per_s": _rate, "p99_ms": _latency, "errors": _errors, "websockets": _websockets, "admin_ms": _admin}
