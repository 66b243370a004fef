"""A fold of your own over the history of the log, as HistoryService streams it: how much did holds cost that came to nothing?

usage: fold.py SERVER [PROTO]

SERVER is an address such as 127.0.0.1:50051, PROTO the folder with the .proto files. Prints JSON.

While a unit is under a hold that will lapse or be given back, nobody else can have it. A query over a table of final states does not see that; a fold does:
it goes through the history once, in its order, and keeps what it needs.
"""

import importlib.resources
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_tools import protoc


def history_client(proto: Path):
    """The classes of HistoryService, made of its .proto files. A project of your own makes them once, when it is built."""
    with tempfile.TemporaryDirectory(prefix="jari-client-") as made:
        return compiled(proto, made)


def compiled(proto: Path, made: str):
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    files = [str(path) for path in sorted(proto.glob("reservation/**/*.proto"))]
    if protoc.main(["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={made}", f"--grpc_python_out={made}", *files]) != 0:
        sys.exit("the .proto files could not be compiled")
    sys.path.insert(0, made)
    from reservation.history.v1 import history_service_pb2 as messages, history_service_pb2_grpc as services

    return messages, services


def read_log(server: str, proto: Path, after: int = 0):
    """Every event after a position, up to now: its position, its name, its time in seconds, and its data. Goes on where it was when the connection breaks."""
    messages, services = history_client(proto)
    failures = 0
    while True:
        try:
            with grpc.insecure_channel(server) as channel:
                asked = messages.ReadLogRequest(after=messages.Moment(position=after))
                for answer in services.HistoryServiceStub(channel).ReadLog(asked):
                    for event in answer.events:
                        yield event.position, event.type.rsplit(".")[-1], event.time.ToNanoseconds() / 1e9, json.loads(event.data_json)
                    after, failures = answer.position, 0
                return
        except grpc.RpcError as error:
            failures += 1
            if failures > 5 or error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise


@dataclass
class Hold:
    since: float
    units: int
    refused_before: int


@dataclass
class Slot:
    capacity: int = 0
    held: int = 0
    confirmed: int = 0
    holds: dict = field(default_factory=dict)
    # of each refusal: units that were missing, and units that stood under holds which came to nothing later
    missing: list = field(default_factory=list)
    idle: list = field(default_factory=list)
    idle_unit_seconds: float = 0.0

    def end(self, hold_id: str, at: float, bought: bool):
        hold = self.holds.pop(hold_id, None)
        if hold and not bought:
            self.idle_unit_seconds += hold.units * (at - hold.since)
            for refusal in range(hold.refused_before, len(self.missing)):
                self.idle[refusal] += hold.units

    def refuse(self, asked: int):
        self.missing.append(asked - max(0, self.capacity - self.held - self.confirmed))
        self.idle.append(0)


class Fold:
    def __init__(self):
        self.position = 0
        self.orders = {}
        self.slots = {}
        # refusals that were not for want of room: the slot was suspended or closed, or it was too late for it
        self.otherwise = Counter()

    def take(self, position: int, name: str, at: float, data: dict):
        self.position = position
        if name.startswith("Order"):
            self.orders[data["orderId"]] = "ACCEPTED" if name == "OrderPlaced" else name.removeprefix("Order").upper()
        if "slotId" in data:
            slot = self.slots.setdefault(data["slotId"], Slot())
            if counts := data.get("counts"):
                slot.capacity, slot.held, slot.confirmed = counts["capacity"], counts["held"], counts["confirmed"]
        match name:
            case "UnitsHeld":
                slot.holds[data["holdId"]] = Hold(at, data["quantity"], len(slot.missing))
            case "HoldConfirmed" | "HoldReleased" | "HoldExpired":
                slot.end(data["holdId"], at, name == "HoldConfirmed")
            case "OrderRejected":
                for failure in data["failures"]:
                    # only where there was no room do the facts say how much was asked for
                    if "requested" in failure["details"]:
                        self.slots[failure["slotId"]].refuse(int(failure["details"]["requested"]))
                    else:
                        self.otherwise[failure["code"]] += 1

    def answer(self) -> dict:
        refusals = [refusal for slot in self.slots.values() for refusal in zip(slot.missing, slot.idle)]
        return {
            "position": self.position,
            "orders": dict(Counter(self.orders.values())),
            "slots": {slot_id: [slot.capacity, slot.held, slot.confirmed] for slot_id, slot in sorted(self.slots.items())},
            "refusals": len(refusals),
            "refusedOtherwise": dict(self.otherwise),
            "refusedForNothing": sum(idle >= missing for missing, idle in refusals),
            "idleUnitSeconds": {slot_id: round(slot.idle_unit_seconds, 3) for slot_id, slot in sorted(self.slots.items()) if slot.idle_unit_seconds},
        }


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    proto = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).resolve().parents[2] / "proto"
    fold = Fold()
    for event in read_log(sys.argv[1], proto):
        fold.take(*event)
    print(json.dumps(fold.answer(), indent=1))


if __name__ == "__main__":
    main()
