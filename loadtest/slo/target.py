"""The daemon under load: one of our own in a temporary folder, or whoever listens at an address."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .settings import Mistake

READY_WITHIN_S = 60
DRAINED_WITHIN_S = 60


class Target:
    """Somebody else's daemon: its address, and if it runs here perhaps its process and data folder."""

    own = False

    def __init__(self, url, pid=None, data_dir=None):
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise Mistake(f"--target {url}: want http://HOST:PORT (the generator speaks no TLS: point it at the plain port)")
        if parts.path.strip("/") or parts.query:
            raise Mistake(f"--target {url}: want no path, the calls are known")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{host}:{parts.port or 80}"
        self.url = f"http://{self.address}"
        self.pid, self.data_dir = pid, data_dir
        if pid and not Path(f"/proc/{pid}").is_dir():
            raise Mistake(f"--pid {pid}: there is no such process here")

    def check(self):
        """Sees that an ingestd is there and ready."""
        try:
            status = self._get("/health/ready")[0]
        except (OSError, ValueError) as error:
            raise Mistake(f"nothing to test at {self.url}: {getattr(error, 'reason', error)}") from error
        if status != 200:
            raise Mistake(f"{self.url}/health/ready answers {status}: it is no ingestd, or not ready")

    def totals(self):
        """What the daemon says became of events so far, or None."""
        try:
            status, body = self._get("/events/stats")
            return json.loads(body)["totals"] if status == 200 else None
        except (OSError, ValueError, KeyError):
            return None

    def _get(self, path):
        request = urllib.request.Request(self.url + path)
        if token := os.environ.get("INGESTD_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def audit(self):
        """None: only an own daemon is asked whether its account balances."""

    def stop(self):
        """Somebody else's daemon is left running."""


class OwnDaemon(Target):
    """A daemon in a folder of its own, gone with the run. INGESTD_… variables configure it as ever."""

    own = True

    def __init__(self, binary, parent):
        self.binary = binary
        self.folder = tempfile.mkdtemp(prefix="slo-", dir=parent)
        self.process = None
        try:
            url = self._start(os.path.join(self.folder, "data"))
        except BaseException:
            self.stop()
            raise
        super().__init__(url, self.process.pid, os.path.join(self.folder, "data"))

    def _start(self, data):
        log = os.path.join(self.folder, "daemon.log")
        command = [self.binary, "serve", "--data-dir", data, "--listen", "127.0.0.1:0"]
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            # It says so once it is ready.
            for line in Path(log).read_text(errors="replace").splitlines():
                if line.startswith("listening on http://"):
                    return line.removeprefix("listening on ").strip()
            time.sleep(0.02)
        last = " | ".join(Path(log).read_text(errors="replace").splitlines()[-3:])
        raise Mistake(f"{self.binary} serve did not become ready: {last or 'it said nothing'}")

    def check(self):
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                return super().check()
            except Mistake:
                if time.monotonic() >= deadline or self.process.poll() is not None:
                    raise
            time.sleep(0.02)

    def audit(self):
        """Whether every accepted event has its place, and what was said about it."""
        command = [self.binary, "admin", "audit", "--data-dir", self.data_dir]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done.returncode == 0, " ".join((done.stdout + done.stderr).split())

    def drain(self):
        """SIGTERM, and how it ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DRAINED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return f"still there after {DRAINED_WITHIN_S} s"

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
