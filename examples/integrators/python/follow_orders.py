"""All that ever happened to orders, each event once: from the history up to now, then from the topic, on and on.

usage: follow_orders.py BROKERS SERVER LEDGER [--prefix PREFIX] [--once]

SERVER is an address such as 127.0.0.1:50051. LEDGER is a file of SQLite, made when it is not there. PREFIX stands before the names of the topics, as the
server's configuration says. With --once it ends when it has read all that there is, and prints the ledger as JSON.

The topic keeps what happened for 30 days. HistoryService has all of it, so this begins there. What it has taken in stands in the ledger together with
how far it is, written in one transaction: kill it whenever you like.
"""

import argparse
import json

import grpc
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ledger import Ledger
from reservation.history.v1 import history_service_pb2 as history, history_service_pb2_grpc as services

TOPIC = "reservation.order.v1"
WAIT_SECONDS = 10


class PlaceIsGone(Exception):
    """The topic no longer has the record that is next: retention was faster."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("brokers")
    parser.add_argument("server")
    parser.add_argument("ledger")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args()

    ledger = Ledger(given.ledger)
    consumer = Consumer({
        "bootstrap.servers": given.brokers,
        # records of transactions that were given up are no events
        "isolation.level": "read_committed",
        # never on from somewhere else without a word: that would be a gap
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        # The offsets stand in the ledger. The library wants a name all the same.
        "group.id": "example-ledger",
        "enable.auto.commit": False,
    })
    topic = given.prefix + TOPIC
    while True:
        try:
            if not ledger.offsets():
                read_history(given.server, ledger)
                ledger.hand_over(first_offsets(consumer, topic, ledger.reached()))
            follow_topic(consumer, topic, ledger, given.once)
            break
        except PlaceIsGone:
            # Once more through the history, from where it was left. What is in the ledger already is a repeat there.
            ledger.hand_over({})
    consumer.close()
    print(json.dumps(ledger.standing()))


def read_history(server: str, ledger: Ledger):
    """Takes in what happened to orders after the position that was reached, up to the end of the log."""
    failures = 0
    while True:
        try:
            with grpc.insecure_channel(server) as channel:
                asked = history.ReadLogRequest(after=history.Moment(position=ledger.reached()[0]), kinds=[history.AGGREGATE_KIND_ORDER])
                for answer in services.HistoryServiceStub(channel).ReadLog(asked):
                    events = [(e.source, e.type, e.stream_version, json.loads(e.data_json)) for e in answer.events]
                    last_ms = answer.events[-1].time.ToMilliseconds() if answer.events else None
                    ledger.take_history(events, answer.position, last_ms)
                    failures = 0
                return
        except grpc.RpcError as error:
            failures += 1
            if failures > 5 or error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise


def first_offsets(consumer: Consumer, topic: str, reached: tuple) -> dict:
    """Where to begin in each partition, so that nothing is missed after what the history told last.

    There is no order between partitions, and the history may be ahead of the relay or behind it, so the end of the topic says nothing. Time does: a record
    bears the time of its event, and nothing later in the log is earlier. Some of what comes from there on has been told already; the ledger knows.
    """
    partitions = consumer.list_topics(topic, timeout=WAIT_SECONDS).topics[topic].partitions
    _, last_ms = reached
    # Asked for first: what is appended between the two questions must not fall between them.
    ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=WAIT_SECONDS)[1] for number in partitions}
    found = consumer.offsets_for_times([TopicPartition(topic, number, last_ms) for number in partitions], timeout=WAIT_SECONDS)
    for place in found:
        if place.error:
            raise KafkaException(place.error)
    return {place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in found}


def follow_topic(consumer: Consumer, topic: str, ledger: Ledger, once: bool):
    offsets = ledger.offsets()
    for number, offset in offsets.items():
        if offset < consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=WAIT_SECONDS)[0]:
            raise PlaceIsGone
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in offsets.items()])
    behind = set(offsets)
    while behind or not once:
        events, reached = [], {}
        for record in consumer.consume(num_messages=500, timeout=0.5):
            match record.error():
                case None:
                    header = {name: value.decode() for name, value in record.headers()}
                    events.append((header["ce_source"], header["ce_type"], int(header["ce_streamversion"]), json.loads(record.value())))
                    reached[record.partition()] = record.offset() + 1
                case error if error.code() == KafkaError._PARTITION_EOF:
                    behind.discard(record.partition())
                case error if error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise PlaceIsGone
                case error:
                    raise KafkaException(error)
        if events:
            ledger.take_records(events, reached)


if __name__ == "__main__":
    main()
