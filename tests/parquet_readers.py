#!/usr/bin/env python3
"""Opens a folder of event files as analysts do, with DuckDB and with pandas, and prints what both see.

    "$(scripts/python.sh)"/bin/python tests/parquet_readers.py data/events [--expect events=N,distinct=N,total=N.NN]

Both must see the same rows, the same types and the same sum. Exits 1 when they do not, or when an expectation fails.
`total` is the sum of data.total over purchase_completed events, each event_id counted once.
"""

import argparse
import json
import pathlib
import sys

import duckdb
import pandas

COLUMNS = {
    "seq": ("BIGINT", "int64"),
    "tenant": ("VARCHAR", "str"),
    "event_id": ("VARCHAR", "str"),
    "event_type": ("VARCHAR", "str"),
    "timestamp": ("TIMESTAMP WITH TIME ZONE", "datetime64[us, UTC]"),
    "user_id": ("VARCHAR", "str"),
    "session_id": ("VARCHAR", "str"),
    "store_id": ("VARCHAR", "str"),
    "data": ("VARCHAR", "str"),
    "metadata": ("VARCHAR", "str"),
    "raw": ("VARCHAR", "str"),
    "received_at": ("TIMESTAMP WITH TIME ZONE", "datetime64[us, UTC]"),
    "committed_at": ("TIMESTAMP WITH TIME ZONE", "datetime64[us, UTC]"),
}


def with_duckdb(folder):
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    files = str(folder / "*" / "*.parquet").replace("'", "''")
    db.execute(f"create view events as from read_parquet('{files}', hive_partitioning = true)")
    types = {name: kind for name, kind, *_ in db.execute("describe events").fetchall()}
    rows, distinct, first, last = db.execute(
        "select count(*), count(distinct event_id), min(seq), max(seq) from events"
    ).fetchone()
    (total,) = db.execute(
        """select coalesce(sum(total), 0) from (
             select any_value((data->>'$.total')::decimal(18, 2)) as total
             from events where event_type = 'purchase_completed' group by event_id)"""
    ).fetchone()
    (misfits,) = db.execute(
        """select count(*) from events
           where date <> (committed_at at time zone 'UTC')::date or not json_valid(raw) or not json_valid(data)
              or raw->>'$.eventType' <> event_type
              or try_cast(raw->>'$.timestamp' as timestamptz) <> timestamp
              or received_at > committed_at"""
    ).fetchone()
    (nulls,) = db.execute("select count(*) from events where user_id is null").fetchone()
    seen = dict(events=rows, distinct=distinct, first=first, last=last, nulls=nulls, total=f"{total:.2f}")
    return seen, types, misfits


def with_pandas(folder):
    frame = pandas.read_parquet(folder)
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    bought = frame[frame.event_type == "purchase_completed"].drop_duplicates("event_id")
    total = sum(round(json.loads(data)["total"] * 100) for data in bought.data)
    seen = dict(
        events=len(frame),
        distinct=frame.event_id.nunique(),
        first=int(frame.seq.min()),
        last=int(frame.seq.max()),
        nulls=int(frame.user_id.isna().sum()),
        total=f"{total / 100:.2f}",
    )
    same_day = frame.committed_at.dt.strftime("%Y-%m-%d") == frame["date"].astype(str)
    return seen, types, int((~same_day).sum())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--expect", default="", help="events=N,distinct=N,total=N.NN: any of the printed figures")
    options = arguments.parse_args()
    wrong = []
    results = {}
    for place, (reader, read) in enumerate({"duckdb": with_duckdb, "pandas": with_pandas}.items()):
        seen, types, misfits = read(options.folder)
        results[reader] = seen
        print(f"{reader:7}", "  ".join(f"{name}={value}" for name, value in seen.items()))
        wrong += [
            f"{reader}: column {name} is {types.get(name)}, not {kinds[place]}"
            for name, kinds in COLUMNS.items()
            if types.get(name) != kinds[place]
        ]
        if misfits:
            wrong.append(f"{reader}: {misfits} rows contradict themselves")
    if results["duckdb"] != results["pandas"]:
        wrong.append("the readers disagree")
    for expectation in filter(None, options.expect.split(",")):
        name, value = expectation.split("=")
        if str(results["duckdb"].get(name)) != value:
            wrong.append(f"{name} should be {value}")
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
