"""What the daemon's process and its disk do while it is under load."""

import os
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Sampler:
    """A thread that looks at fixed intervals; `rows` hold what it saw."""

    def __init__(self, pid, data_dir, interval):
        self.pid, self.data_dir, self.interval = pid, data_dir, interval
        self.begun = time.monotonic()
        self.rows = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now(self):
        """Seconds since the first look."""
        return time.monotonic() - self.begun

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            self.rows.append(self._look())
            self._stop.wait(self.interval)

    def _look(self):
        row = {"t": self.now(), "machine_cpu_s": machine_cpu_s()}
        if self.pid:
            row |= process(self.pid)
        if self.data_dir:
            row |= {"data_bytes": folder_bytes(self.data_dir), "written_bytes": written_bytes(self.data_dir)}
        return row


def process(pid):
    """CPU seconds and resident memory of a process; nothing if it is gone or somebody else's."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The command, in parentheses, may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return {}
    return {"cpu_s": (int(fields[11]) + int(fields[12])) / TICKS, "rss_kib": int(fields[21]) * PAGE_KIB}


def machine_cpu_s():
    """CPU seconds of everything that runs here."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq, *_ = (int(word) for word in file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


def folder_bytes(folder):
    """What the files in a folder take on the disk; files that go meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return total


def written_bytes(folder):
    """Bytes that the folder's device has written, by whomever; None where it is no disk."""
    device = os.stat(folder).st_dev if os.path.isdir(folder) else 0
    with open("/proc/diskstats") as lines:
        for line in lines:
            fields = line.split()
            if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
                return int(fields[9]) * 512
    return None
