"""The machine that the figures come from."""

import os
import platform
import resource
import tempfile
import time

# Descriptors that a process needs beside its connections; as many as the daemon keeps back.
KEPT_BACK = 1100


def raise_descriptor_limit():
    """Lifts the soft limit to the hard one, for this process and its children; returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe(folder):
    """What stands at the head of a report."""
    return {
        "cpu": f"{os.cpu_count()} × {_cpu_model()}",
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "disk": _mount(folder) if folder else "not known",
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "load_average": os.getloadavg()[0],
    }


def fsync(folder, seconds):
    """How long fdatasync takes after 4 KiB are written over blocks that are there already, as a log with recycled files
    does: milliseconds at some quantiles."""
    block, blocks, times = b"\x5a" * 4096, 1024, []
    with tempfile.TemporaryFile(dir=folder, prefix="fsync-") as file:
        fd = file.fileno()
        for at in range(blocks):
            os.pwrite(fd, block, at * len(block))
        os.fsync(fd)
        end = time.monotonic() + seconds
        while not times or time.monotonic() < end:
            os.pwrite(fd, block, len(times) % blocks * len(block))
            begun = time.perf_counter_ns()
            os.fdatasync(fd)
            times.append(time.perf_counter_ns() - begun)
    times.sort()

    def at(quantile):
        return times[min(len(times) - 1, int(quantile * len(times)))] / 1e6

    return {"syncs": len(times), "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": times[-1] / 1e6}


def _cpu_model():
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _mount(folder):
    """Device and type of the file system that a folder lies on."""
    best = ("", "not known")
    real = os.path.realpath(folder)
    with open("/proc/self/mounts") as lines:
        for line in lines:
            device, point, kind, *_ = line.split()
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, f"{device} {kind}")
    return best[1]
