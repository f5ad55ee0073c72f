"""What is promised and what runs: slo.toml, with changes for one run."""

import tomllib
from pathlib import Path

TOOLS = ("loadgen", "k6", "wrk")
JUDGED = ("events_per_s", "p99_ms", "errors", "websockets", "admin_ms")


class Mistake(Exception):
    """Something that the user can mend; printed without a trace."""


def load(path, changes):
    """The settings of a file, `changes` being KEY=VALUE with dotted keys that are there already."""
    try:
        settings = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise Mistake(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Mistake(f"{path}: {error}") from error
    for change in changes:
        _change(settings, change)
    _check(settings, path)
    return settings


def _change(settings, change):
    key, equals, text = change.partition("=")
    *tables, last = key.split(".")
    place = settings
    for table in tables:
        place = place.get(table) if isinstance(place, dict) else None
    if not equals or not isinstance(place, dict) or last not in place:
        raise Mistake(f"--set {change}: want KEY=VALUE, where KEY is in slo.toml, such as promise.p99_ms=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise Mistake(f"--set {change}: {text!r} is not a TOML value") from error
    old = place[last]
    numbers = isinstance(old, (int, float)) and isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numbers and type(old) is not type(value):
        raise Mistake(f"--set {change}: {key} is {old!r}, {value!r} is of another kind")
    place[last] = value


def _check(settings, path):
    def want(table, names):
        missing = [name for name in names if name not in table[1]]
        if missing:
            raise Mistake(f"{path}: [{table[0]}] lacks {', '.join(missing)}")

    for name in ("promise", "judge", "profile", "step"):
        if not isinstance(settings.get(name), dict):
            raise Mistake(f"{path}: there is no [{name}]")
    want(("promise", settings["promise"]), JUDGED)
    want(("judge", settings["judge"]), ("sustained", "lag_p99_ms", "waited_max", "fsync_s"))
    for name, profile in settings["profile"].items():
        want((f"profile.{name}", profile), ("seconds", "warmup", "sockets", "k6_rate", "steps"))
        for step in profile["steps"]:
            if step not in settings["step"]:
                raise Mistake(f"{path}: [profile.{name}] names the step {step!r}, which is not there")
    for name, step in settings["step"].items():
        want((f"step.{name}", step), ("tool", "args" if step.get("tool") == "loadgen" else "script"))
        if step["tool"] not in TOOLS:
            raise Mistake(f"{path}: [step.{name}] tool is none of {', '.join(TOOLS)}")
        for judged in step.get("judge", ()):
            if judged not in JUDGED:
                raise Mistake(f"{path}: [step.{name}] judge: {judged!r} is no promise")
