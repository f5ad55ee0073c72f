#!/usr/bin/env python3
"""Runs a real ClickHouse server out of the wheel `chdb-core`, until its standard input ends or it is told to stop.

    python tests/support/clickhouse_server.py --folder DIR [--port N] [--users FILE] [--config XML] [--remove]

Prints `ready PORT` once it answers. DIR/data holds the tables and survives a kill -9; --users is a file in the form of
ClickHouse's users.xml (without it: user `default`, no password, everything allowed); --config goes into <clickhouse>.

The wheel's library holds clickhouse-local, which can be told to listen: its first statement opens the listener, its
second reads from a pipe that stays open as long as the server is wanted. Whoever started this holds the other end of
standard input, so that a server never outlives its test.
"""
import argparse
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import sys
import threading
import urllib.request

CONFIG = """<clickhouse>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <logger><console>1</console></logger><log-level>error</log-level>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <mark_cache_size>67108864</mark_cache_size>
  {users}
  {extra}
</clickhouse>
"""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--users", help="a file like ClickHouse's users.xml")
    parser.add_argument("--config", default="", help="XML for the server's configuration")
    parser.add_argument("--remove", action="store_true", help="remove the folder at the end")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load_engine():
    """The extension module alone: the package around it would start, and stop, an engine of its own."""
    package = os.path.dirname(importlib.util.find_spec("chdb").origin)
    # RTLD_DEEPBIND: the library brings its own C++ runtime.
    ctypes.CDLL(os.path.join(package, "_chdb.abi3.so"), mode=sys.getdlopenflags() | 8)
    sys.path.insert(0, package)
    import _chdb

    return _chdb


def run(engine, data, wanted, ended, result):
    source = f"file('/dev/fd/{wanted}', 'LineAsString', 'line String')"
    sql = (
        "SYSTEM START LISTEN HTTP; "
        f"SELECT count() FROM {source} "
        "SETTINGS storage_file_read_method = 'read', input_format_parallel_parsing = 0;"
    )
    try:
        answer = engine.query(sql, "TabSeparated", path=data)
        if answer.has_error():
            raise RuntimeError(answer.error_message())
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is to see it
        print(f"clickhouse: {error}", file=sys.stderr, flush=True)
        result.append(1)
    ended.set()


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1) as answer:
            return answer.read() == b"Ok.\n"
    except OSError:
        return False


def main():
    args = arguments()
    folder = os.path.abspath(args.folder)
    data, home = os.path.join(folder, "data"), os.path.join(folder, "home")
    for path in (data, home):
        os.makedirs(path, exist_ok=True)
    port = args.port or free_port()
    users = ""
    if args.users:
        path = os.path.abspath(args.users)
        users = f"<user_directories><users_xml><path>{path}</path></users_xml></user_directories>"
    with open(os.path.join(home, "config.xml"), "w") as file:
        file.write(CONFIG.format(port=port, users=users, extra=args.config))
    # The engine takes its configuration from the working directory.
    os.environ["HOME"] = home
    os.chdir(home)
    engine = load_engine()

    wanted, keep = os.pipe()
    ended, result = threading.Event(), []
    stop_once = threading.Lock()

    def stop(*_):
        if stop_once.acquire(blocking=False):
            os.close(keep)

    def stop_at_end_of_input():
        while os.read(0, 4096):
            pass
        stop()

    worker = threading.Thread(target=run, args=(engine, data, wanted, ended, result))
    worker.start()
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    ready = False
    while not ended.wait(0.05):
        if not ready and answers(port):
            ready = True
            # The engine has handlers of its own, which it sets while it starts.
            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            print(f"ready {port}", flush=True)
    worker.join()
    if args.remove:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if result else 0)


main()
