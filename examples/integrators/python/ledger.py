"""Orders, what was taken in all, and how far the reading is, in SQLite: what an event changes and the place behind it are written in one transaction."""

import sqlite3

TABLES = """
    CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, version INTEGER NOT NULL, type TEXT NOT NULL, currency TEXT, minor_units INTEGER);
    CREATE TABLE IF NOT EXISTS takings (currency TEXT PRIMARY KEY, minor_units INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS topic (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS history (one INTEGER PRIMARY KEY CHECK (one = 1), source TEXT, position INTEGER NOT NULL, last_ms INTEGER NOT NULL);
    INSERT OR IGNORE INTO history VALUES (1, NULL, 0, 0);
"""


class Ledger:
    def __init__(self, file: str):
        self.database = sqlite3.connect(file)
        self.database.executescript(TABLES)
        self.taken = {"history": 0, "topic": 0, "repeats": 0}

    def reached(self) -> tuple:
        """Up to which position the history was read, and the time of the last event that it told, in milliseconds."""
        return self.database.execute("SELECT position, last_ms FROM history").fetchone()

    def offsets(self) -> dict:
        """The next offset of each partition; empty while the history is read."""
        return dict(self.database.execute("SELECT partition, next_offset FROM topic"))

    def take_history(self, events: list, position: int, last_ms: int | None):
        with self.database:
            self.take(events, "history")
            self.database.execute("UPDATE history SET position = ?, last_ms = coalesce(?, last_ms)", [position, last_ms])

    def take_records(self, events: list, offsets: dict):
        with self.database:
            self.take(events, "topic")
            self.database.executemany("INSERT OR REPLACE INTO topic VALUES (?, ?)", offsets.items())

    def hand_over(self, offsets: dict):
        """To the topic, at these offsets; without any, back to the history."""
        with self.database:
            self.database.execute("DELETE FROM topic")
            self.database.executemany("INSERT INTO topic VALUES (?, ?)", offsets.items())

    def take(self, events: list, where: str):
        for source, type_name, version, data in events:
            self.taken[where if self.apply(source, type_name, version, data) else "repeats"] += 1

    def apply(self, source: str, type_name: str, version: int, data: dict) -> bool:
        """Whether the event was new. An order's versions are 1, 2, 3, wherever they are read: one that is not the next is a repeat or a gap."""
        self.database.execute("UPDATE history SET source = coalesce(source, ?)", [source])
        if self.database.execute("SELECT source FROM history").fetchone()[0] != source:
            raise ValueError(f"this is not the log that the ledger was begun with: {source}")
        order_id = data["orderId"]
        found = self.database.execute("SELECT version, currency, minor_units FROM orders WHERE order_id = ?", [order_id]).fetchone()
        known, currency, minor_units = found or (0, None, None)
        if version <= known:
            return False
        if version > known + 1:
            raise ValueError(f"order {order_id}: version {version} came after {known}")
        match type_name.rsplit(".")[-1]:
            case "OrderPlaced":
                currency, minor_units = data["total"]["currency"], int(data["total"]["minorUnits"])
            case "OrderConfirmed":
                self.take_in(currency, minor_units)
            case "OrderCancelled" if data["previousState"] == "ORDER_STATE_CONFIRMED":
                self.take_in(currency, -minor_units)
            # others bring nothing, and so does a type that is added some day; their version counts
        self.database.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", [order_id, version, type_name, currency, minor_units])
        return True

    def take_in(self, currency: str, minor_units: int):
        add = "INSERT INTO takings VALUES (?, ?) ON CONFLICT (currency) DO UPDATE SET minor_units = takings.minor_units + excluded.minor_units"
        self.database.execute(add, [currency, minor_units])

    def standing(self) -> dict:
        """How many events it has in all; how many orders by what happened to them last; what was taken; what this process read, and where."""
        return {
            "events": self.database.execute("SELECT coalesce(sum(version), 0) FROM orders").fetchone()[0],
            "orders": dict(self.database.execute("SELECT type, count(*) FROM orders GROUP BY type ORDER BY type")),
            "takings": dict(self.database.execute("SELECT currency, minor_units FROM takings ORDER BY currency")),
            "read": self.taken,
        }
