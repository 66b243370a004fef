"""Four questions to an export, answered with DuckDB and pandas, drawn with matplotlib. docs/analysts.md walks through it.

usage: questions.py EXPORT OUTPUT

EXPORT is a folder that `jari export` wrote as Parquet. Writes four pictures and answers.json to OUTPUT, and prints what they say.
"""

import json
import sys
import warnings
from pathlib import Path

import duckdb
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# duckdb 2.0 calls pandas in a way that pandas will not know for ever
warnings.filterwarnings("ignore", message="The inplace keyword")

ORDER, SLOT = "reservation.order.v1", "reservation.inventory.v1"

# What an order has become, by the last thing that happened to it.
STATES = {
    "OrderPlaced": "ACCEPTED",
    "OrderHeld": "HELD",
    "OrderRejected": "REJECTED",
    "OrderConfirmed": "CONFIRMED",
    "OrderExpired": "EXPIRED",
    "OrderCancelled": "CANCELLED",
}

CONVERSION = """
    SELECT line.product_id, line.option_id,
           count(*) AS asked,
           count(held.order_id) AS held,
           count(bought.order_id) AS bought,
           count(lapsed.order_id) AS lapsed,
           count(given_back.order_id) AS given_back,
           round(count(bought.order_id) / nullif(count(held.order_id), 0), 4) AS conversion
    FROM (SELECT order_id, unnest(lines) AS line FROM order_placed)
    LEFT JOIN order_held held USING (order_id)
    LEFT JOIN order_confirmed bought USING (order_id)
    LEFT JOIN order_expired lapsed USING (order_id)
    LEFT JOIN (FROM order_cancelled WHERE previous_state = 'ORDER_STATE_HELD') given_back USING (order_id)
    GROUP BY ALL ORDER BY ALL
"""

# Every event of a slot that changes its counts has them as they are after it: no state has to be computed.
CURVE = """
    SELECT position, time, counts_capacity AS capacity, counts_held AS held, counts_confirmed AS sold, counts_available AS free
    FROM slot_events WHERE slot_id = ? AND counts_capacity IS NOT NULL ORDER BY position
"""

REFUSED = """
    SELECT time_bucket(CAST(? AS INTERVAL), time) AS at, failure.code AS code, count(*) AS orders, sum(CAST(failure.details['requested'] AS INTEGER)) AS units
    FROM (SELECT time, unnest(failures) AS failure FROM order_rejected)
    GROUP BY ALL ORDER BY ALL
"""

LEAD = """
    SELECT placed.order_id, line.option_id, cancelled.reason, line.starts_at,
           date_diff('millisecond', cancelled.time, line.starts_at) / 3600000 AS hours_before_start,
           date_diff('millisecond', bought.time, cancelled.time) / 1000 AS seconds_owned
    FROM order_cancelled cancelled
    JOIN order_confirmed bought USING (order_id)
    JOIN (SELECT order_id, unnest(lines) AS line FROM order_placed) placed USING (order_id)
    WHERE cancelled.previous_state = 'ORDER_STATE_CONFIRMED' AND line.starts_at IS NOT NULL
    ORDER BY cancelled.position
"""


def open_export(folder: Path) -> duckdb.DuckDBPyConnection:
    """A view for each type of event. Only files that a manifest names: those of a step that is not finished are nobody's business yet."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    steps = [json.loads(path.read_text()) for path in sorted((folder / "_manifest").glob("*.json"))]
    files = [file for step in steps for file in step["files"]]
    for type_name in STATES:
        paths = [str(folder / file["path"]) for file in files if file["type"] == f"{ORDER}.{type_name}"]
        if not paths:
            sys.exit(f"the export has no {type_name} yet; `jari demo --story` makes orders of every fate")
        name = "order_" + type_name.removeprefix("Order").lower()
        db.read_parquet(paths, union_by_name=True).create_view(name)
    paths = [str(folder / file["path"]) for file in files if file["type"].startswith(f"{SLOT}.")]
    db.read_parquet(paths, union_by_name=True, hive_partitioning=True).create_view("slot_events")
    return db


def conversion(db, output: Path):
    table = db.sql(CONVERSION).df()
    fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    left = 0
    for column, colour in [("bought", "#2a7f62"), ("given_back", "#e0a458"), ("lapsed", "#b5483a")]:
        share = table[column] / table["held"]
        ax.barh(table["option_id"], share, left=left, label=column.replace("_", " "), color=colour)
        left = left + share
    ax.set(title="What became of held orders", xlabel="share of those held", xlim=(0, 1))
    ax.legend()
    fig.savefig(output / "conversion.png", dpi=120)
    return table


def sell_out(db, output: Path):
    """Of the slot that refused most."""
    slot_id = db.sql("""
        SELECT failure.slot_id FROM (SELECT unnest(failures) AS failure FROM order_rejected)
        GROUP BY ALL ORDER BY count(*) DESC, failure.slot_id LIMIT 1
    """).fetchall()[0][0]
    table = db.execute(CURVE, [slot_id]).df()
    fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    for column, colour in [("sold", "#2a7f62"), ("held", "#e0a458"), ("free", "#5b7c99")]:
        ax.step(table["time"], table[column], where="post", label=column, color=colour)
    ax.set(title=f"How {slot_id.split('@')[1]} sold out", ylabel="units", ylim=(0, None))
    ax.legend()
    fig.autofmt_xdate()
    fig.savefig(output / "sell-out.png", dpi=120)
    return slot_id, table


def refused(db, output: Path):
    """By the minute; a sale of a few minutes is looked at by the second."""
    seconds = db.sql("SELECT date_diff('second', min(time), max(time)) FROM order_placed").fetchall()[0][0]
    bucket = "1 minute" if seconds > 600 else "1 second"
    table = db.execute(REFUSED, [bucket]).df()
    fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    wide = table.pivot(index="at", columns="code", values="orders").fillna(0)
    bottom = 0
    for code in wide.columns:
        ax.bar(wide.index, wide[code], bottom=bottom, width=0.8 * (60 if bucket == "1 minute" else 1) / 86400, label=code)
        bottom = bottom + wide[code]
    ax.set(title=f"Orders that were refused, by the {bucket.split()[1]}", ylabel="orders")
    ax.legend()
    fig.autofmt_xdate()
    fig.savefig(output / "refused.png", dpi=120)
    return bucket, table


def lead_time(db, output: Path):
    table = db.sql(LEAD).df()
    fig, (near, owned) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for reason, rows in table.groupby("reason"):
        near.plot(rows["hours_before_start"], rows["seconds_owned"], "o", label=reason, alpha=0.7)
    near.set(title="When bookings are cancelled", xlabel="hours before the start", ylabel="seconds after the booking", xscale="log")
    near.invert_xaxis()
    near.legend()
    owned.hist(table["seconds_owned"], bins=20, color="#5b7c99")
    owned.set(title="How long they were owned", xlabel="seconds", ylabel="bookings")
    fig.savefig(output / "lead-time.png", dpi=120)
    return table


def standing(db):
    """How everything stands at the end of the export: to be compared with the program's own views."""
    last = " UNION ALL ".join(f"SELECT order_id, position, '{state}' AS state FROM order_{name.removeprefix('Order').lower()}" for name, state in STATES.items())
    orders = db.sql(f"SELECT state, count(*) FROM (SELECT order_id, arg_max(state, position) AS state FROM ({last}) GROUP BY ALL) GROUP BY ALL ORDER BY ALL")
    slots = db.sql("""
        SELECT slot_id, last(counts_capacity ORDER BY position), last(counts_held ORDER BY position), last(counts_confirmed ORDER BY position)
        FROM slot_events WHERE counts_capacity IS NOT NULL GROUP BY ALL ORDER BY ALL
    """)
    revenue = db.sql("SELECT coalesce(sum(total_minor_units), 0) FROM order_placed SEMI JOIN order_confirmed USING (order_id) ANTI JOIN order_cancelled USING (order_id)")
    return {
        "orders": dict(orders.fetchall()),
        "slots": {slot_id: counts for slot_id, *counts in slots.fetchall()},
        "revenue": int(revenue.fetchall()[0][0]),
    }


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    db = open_export(folder)
    by_option = conversion(db, output)
    print("From hold to booking, by option:\n", by_option.to_string(index=False), "\n")
    slot_id, curve = sell_out(db, output)
    gone = curve[curve["free"] == 0]
    first = (gone["time"].iloc[0] - curve["time"].iloc[0]).total_seconds() if len(gone) else None
    print(f"{slot_id}: {curve['capacity'].iloc[0]} units, first full after {first} s, {curve['sold'].iloc[-1]} sold in the end\n")
    bucket, demand = refused(db, output)
    worst = demand.groupby("at")["orders"].sum()
    print(f"Refused: {demand['orders'].sum()} orders for {demand['units'].sum():.0f} units; at worst {worst.max()} within {bucket}, at {worst.idxmax()}\n")
    lead = lead_time(db, output)
    print(f"Cancelled: {len(lead)} bookings; half of them more than {lead['hours_before_start'].median():.1f} hours before the start\n")
    answers = standing(db) | {
        "conversion": {row.option_id: [int(row.asked), int(row.held), int(row.bought), int(row.lapsed), int(row.given_back)] for row in by_option.itertuples()},
        "refused": int(demand["orders"].sum()),
        "soldOutAfterSeconds": first,
        "cancelledBookings": len(lead),
    }
    (output / "answers.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
