"""How long `ingestd admin status` takes while a step runs."""

import json
import os
import socket
import threading
import time

PAUSE_S = 0.02
# What takes longer counts as not answered.
PATIENCE_S = 30


class Asker:
    """A thread that asks over the admin socket until it is stopped."""

    def __init__(self, path):
        self.path = path
        # Of each answer: the milliseconds that it took, and for how many of them this thread waited for a core.
        self.answers, self.failed = [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        """Ends it; what it has found."""
        self._stop.set()
        self._thread.join()
        took = sorted(ms for ms, _ in self.answers)
        unhindered = sorted(ms - waited for ms, waited in self.answers)
        return {
            "answered": len(took),
            "failed": self.failed,
            "p50": _at(took, 0.5),
            "p99": _at(took, 0.99),
            "max": _at(took, 1),
            "p99_unhindered": _at(unhindered, 0.99),
        }

    def _run(self):
        while not self._stop.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as talk:
                    talk.settimeout(PATIENCE_S)
                    talk.connect(self.path)
                    with talk.makefile("rb") as lines:
                        self._ask(talk, lines)
            except (OSError, ValueError):
                self.failed += 1
                self._stop.wait(PAUSE_S)

    def _ask(self, talk, lines):
        while not self._stop.is_set():
            waited, begun = _waited_ms(), time.perf_counter()
            talk.sendall(b'{"command": "status"}\n')
            answer = json.loads(lines.readline())
            if answer.get("ok") is not True:
                raise ValueError(answer)
            self.answers.append(((time.perf_counter() - begun) * 1000, _waited_ms() - waited))
            self._stop.wait(PAUSE_S)


def socket_of(data_dir):
    """The admin socket of a daemon that runs here, or None."""
    path = os.environ.get("INGESTD_ADMIN_SOCKET") or (data_dir and os.path.join(data_dir, "admin.sock"))
    return path if path and os.path.exists(path) else None


def _waited_ms():
    """For how long this thread could have run and did not get a core."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e6
    except OSError:
        return 0.0


def _at(sorted_ms, quantile):
    return sorted_ms[min(len(sorted_ms) - 1, int(quantile * len(sorted_ms)))] if sorted_ms else 0.0
