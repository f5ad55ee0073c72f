"""The load test: its verdicts as a pure function, and whole runs of it, of which some must fail.

Run by scripts/test.sh: INGESTD_BIN is the daemon, and loadgen lies beside it.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "loadtest"))

from slo import settings, verdict  # noqa: E402

SLO = ROOT / "loadtest" / "slo.toml"
FAST_DISK = {"p99_ms": 0.2}
# Promises that also a slow and busy machine keeps: the test is about the load test, not about speed.
EASY = ["promise.events_per_s=500", "promise.p99_ms=20000", "promise.admin_ms=20000", "judge.lag_p99_ms=20000", "judge.sustained=0.5", "judge.waited_max=1"]


def step(**changes):
    """A step of loadgen that met everything."""
    good = {
        "name": "single",
        "judge": ["events_per_s", "p99_ms", "errors"],
        "events_per_s": 10_000.0,
        "events_per_s_asked": 10_000.0,
        "latency_ms": {"p50": 0.5, "p99": 2.0, "p999": 4.0},
        "errors": {"lost": 0, "closed": 0, "unsent": 0},
        "generator": {"busy": 0.4, "waited": 0.05, "lag_p99_ms": 0.1},
        "late": False,
        "answered": True,
    }
    return good | changes


def statuses(found, disk=FAST_DISK, **more):
    rows = verdict.judge(settings.load(SLO, []), [found], disk, **more)
    return {row["promise"]: row["status"] for row in rows}, verdict.outcome(rows)


class Verdicts(unittest.TestCase):
    def test_a_run_that_keeps_everything_is_met(self):
        self.assertEqual(statuses(step()), ({"throughput": "met", "latency": "met", "errors": "met"}, "met"))

    def test_each_promise_can_be_missed(self):
        slow = {"p50": 1.0, "p99": 5.0, "p999": 9.0}
        for promise, found in {
            "throughput": step(events_per_s=9_899.0),
            "latency": step(latency_ms=slow),
            "errors": step(errors={"lost": 1, "closed": 0, "unsent": 0}),
        }.items():
            rows, whole = statuses(found)
            self.assertEqual((rows[promise], whole), ("MISSED", "MISSED"), promise)
        self.assertEqual(statuses(step(errors={"lost": 0, "closed": 0, "unsent": 1}))[0]["throughput"], "MISSED")

    def test_nothing_answered_is_a_miss_and_nothing_judged_is_no_proof(self):
        silent = step(answered=False, events_per_s=0.0, latency_ms={"p50": 0.0, "p99": 0.0, "p999": 0.0})
        self.assertEqual(set(statuses(silent)[0].values()), {"MISSED"})
        self.assertEqual(verdict.outcome([]), "inconclusive")

    def test_a_late_generator_proves_no_latency_but_its_errors_count(self):
        late = step(late=True, latency_ms={"p50": 1.0, "p99": 9.0, "p999": 9.0})
        self.assertEqual(statuses(late), ({"throughput": "met", "latency": "inconclusive", "errors": "met"}, "inconclusive"))
        self.assertEqual(statuses(late | {"errors": {"lost": 3, "unsent": 0}})[1], "MISSED")

    def test_a_starved_generator_proves_a_pass_but_no_miss(self):
        starved = step(generator={"busy": 0.6, "waited": 0.4, "lag_p99_ms": 0.1})
        self.assertEqual(statuses(starved)[1], "met")
        missed = starved | {"latency_ms": {"p50": 1.0, "p99": 9.0, "p999": 9.0}, "events_per_s": 5_000.0}
        self.assertEqual(statuses(missed)[0], {"throughput": "inconclusive", "latency": "inconclusive", "errors": "met"})

    def test_no_latency_is_claimed_on_a_disk_that_is_slower_than_the_promise_or_not_measured(self):
        rows, whole = statuses(step(), disk={"p99_ms": 5.0})
        self.assertEqual((rows["latency"], whole), ("inconclusive", "inconclusive"))
        self.assertEqual(statuses(step(), disk=None)[0]["latency"], "inconclusive")

    def test_the_clients_counts_are_the_daemons(self):
        counts = {"accepted": 9, "duplicate": 1, "rejected": 0, "refused": 0}
        self.assertEqual(statuses(step(counts=counts, daemon_counts=dict(counts)))[1], "met")
        self.assertEqual(statuses(step(counts=counts, daemon_counts=counts | {"accepted": 8}))[0]["counts"], "MISSED")

    def test_an_account_that_does_not_balance_and_a_bad_end_are_misses(self):
        self.assertEqual(statuses(step(), audit=(False, "NOT balanced"), drained=0)[1], "MISSED")
        self.assertEqual(statuses(step(), audit=(True, "balanced"), drained=1)[1], "MISSED")

    def test_websockets_are_all_up_and_as_many_as_promised(self):
        full = step(judge=["websockets"], connections_opened=50_000, connections_up=50_000, limited="")
        self.assertEqual(statuses(full)[1], "met")
        self.assertEqual(statuses(full | {"connections_up": 49_999})[1], "MISSED")
        self.assertEqual(statuses(full | {"errors": {"closed": 1}})[1], "MISSED")
        fewer = full | {"connections_opened": 200, "connections_up": 200}
        self.assertEqual(statuses(fewer)[0]["websockets"], "not tried")
        self.assertEqual(statuses(fewer | {"limited": "20000 descriptors"})[0]["websockets"], "inconclusive")

    def test_the_admin_plane_answers_in_time_and_a_starved_asker_proves_no_miss(self):
        took = {"answered": 100, "failed": 0, "p50": 0.4, "p99": 2.0, "max": 9.0, "p99_unhindered": 1.0}
        asked = step(judge=["admin_ms"], admin_ms=took)
        self.assertEqual(statuses(asked), ({"admin": "met"}, "met"))
        slow = took | {"p99": 100.0, "max": 300.0, "p99_unhindered": 100.0}
        for missed in (slow, took | {"failed": 1}, took | {"answered": 0}):
            self.assertEqual(statuses(asked | {"admin_ms": missed})[1], "MISSED", missed)
        self.assertEqual(statuses(asked | {"admin_ms": slow | {"p99_unhindered": 99.0}})[1], "inconclusive")
        self.assertEqual(statuses(step(judge=["admin_ms"]))[0], {"admin": "not tried"})


class Settings(unittest.TestCase):
    def test_values_are_changed_for_one_run(self):
        self.assertEqual(settings.load(SLO, ["promise.p99_ms=7.5"])["promise"]["p99_ms"], 7.5)

    def test_what_makes_no_sense_is_said(self):
        for change in ("promise.p99", "promise.p98_ms=1", "promise.p99_ms=fast", "promise.p99_ms=true", "promise=1", "a.b.c=1"):
            with self.assertRaises(settings.Mistake, msg=change):
                settings.load(SLO, [change])
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            for text in ("", "[promise", SLO.read_text().replace('steps = ["mixed"', 'steps = ["mixxed"')):
                Path(file.name).write_text(text)
                with self.assertRaises(settings.Mistake, msg=text[:40]):
                    settings.load(file.name, [])


class Runs(unittest.TestCase):
    """Whole runs against a real daemon."""

    @classmethod
    def setUpClass(cls):
        cls.bin_dir = Path(os.environ["INGESTD_BIN"]).parent

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="slo-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def load_test(self, *args, bin_dir=None, env=None):
        """Runs it; exit code, result and whatever it printed."""
        out = self.folder / "report"
        command = [ROOT / "loadtest" / "run", "--json", "--bin-dir", bin_dir or self.bin_dir, "--out", out]
        command += ["--data-dir", self.folder, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | (env or {}))
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def test_the_smoke_profile_passes_and_leaves_a_report(self):
        code, result, said = self.load_test(*[word for change in EASY for word in ("--set", change)])
        self.assertEqual(code, 0, said)
        steps = settings.load(SLO, [])["profile"]["smoke"]["steps"]
        self.assertEqual([step["name"] for step in result["steps"]], steps)
        self.assertEqual({row["step"] for row in result["rows"]}, {*steps, "account", "drain"})
        self.assertIn("own lag p99", said)
        self.assertEqual({row["step"] for row in result["rows"] if row["promise"] == "admin"}, {"wrk-single", "wrk-batch"})
        mixed = next(step for step in result["steps"] if step["name"] == "mixed")
        self.assertTrue(mixed["counts"]["rejected"] and mixed["counts"]["duplicate"], mixed["counts"])
        report = (self.folder / "report" / "report.html").read_text()
        for picture in ("latency_percentiles", "latency_time", "throughput", "cpu", "rss", "disk"):
            self.assertGreater((self.folder / "report" / f"{picture}.png").stat().st_size, 5000)
        self.assertEqual(report.count("<img "), 6)
        self.assertEqual(list(self.folder.glob("slo-*")), [], "the daemon's folder is left")

    def test_a_daemon_that_cannot_keep_a_promise_is_found_out(self):
        easy = [word for change in EASY for word in ("--set", change)]
        code, result, said = self.load_test("--only", "sockets", *easy, env={"INGESTD_SERVER_CONNECTIONS_MAX": "50"})
        self.assertEqual(code, 1, said)
        missed = [row["promise"] for row in result["rows"] if row["status"] == "MISSED"]
        self.assertIn("websockets", missed)

    def test_an_admin_plane_that_is_too_slow_is_found_out(self):
        easy = [word for change in EASY for word in ("--set", change)]
        code, result, said = self.load_test("--only", "wrk-single", *easy, "--set", "promise.admin_ms=0.000001")
        self.assertEqual(code, 1, said)
        admin = next(row for row in result["rows"] if row["promise"] == "admin")
        self.assertEqual(admin["status"], "MISSED")
        self.assertRegex(admin["found"], r"p50 [\d.]+ p99 [\d.]+ max [\d.]+ ms of \d+$")

    def test_a_generator_that_is_kept_from_running_makes_the_latency_inconclusive(self):
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "ingestd").symlink_to(self.bin_dir / "ingestd")
        frozen = self.folder / "bin" / "loadgen"
        # Stopped for 0.3 s, again and again, until it has ended.
        frozen.write_text(
            f'#!/bin/sh\n"{self.bin_dir}/loadgen" "$@" &\npid=$!\n'
            "while sleep 0.3 && kill -STOP $pid 2>/dev/null; do sleep 0.3; kill -CONT $pid; done\nwait $pid\n"
        )
        frozen.chmod(0o755)
        rate = ("--set", "promise.events_per_s=500", "--set", "judge.sustained=0.1")
        code, result, said = self.load_test("--only", "single", *rate, bin_dir=self.folder / "bin")
        self.assertEqual(code, 3, said)
        latency = next(row for row in result["rows"] if row["promise"] == "latency")
        self.assertEqual(latency["status"], "inconclusive")
        self.assertIn("late", latency["why"])

    def test_a_promise_shorter_than_a_sync_of_this_disk_is_not_judged(self):
        easy = [word for change in EASY for word in ("--set", change)]
        code, result, said = self.load_test("--only", "single", *easy, "--set", "promise.p99_ms=0.000001")
        self.assertEqual(code, 3, said)
        self.assertIn("fsync", next(row for row in result["rows"] if row["promise"] == "latency")["why"])

    def test_what_cannot_run_says_why(self):
        for args, word in (
            (("--profile", "none"), "--profile none"),
            (("--only", "single,nothing"), "--only nothing"),
            (("--target", "https://localhost"), "no TLS"),
            (("--target", "http://127.0.0.1:1"), "nothing to test"),
            (("--set", "promise.speed=1"), "--set promise.speed=1"),
        ):
            code, _, said = self.load_test(*args)
            self.assertEqual(code, 2, said)
            self.assertIn(word, said)
            self.assertNotIn("Traceback", said)
        self.assertEqual(self.load_test("--sped")[0], 64)


if __name__ == "__main__":
    unittest.main(verbosity=2)
