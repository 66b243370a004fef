"""The schemas of all events in a schema registry, and every record checked by the schema that it names.

usage: schemas.py register REGISTRY FOLDER...
       schemas.py check REGISTRY BROKERS [--prefix PREFIX]

REGISTRY is the address of Confluent's API, which others serve, too: http://127.0.0.1:8080/apis/ccompat/v7 of Apicurio. FOLDERs hold schemas, those of
the older version of the contract first. PREFIX stands before the names of the topics, as the server's configuration says.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, SchemaRegistryError, ServerConfig
from jsonschema.validators import validator_for

TOPICS = ["reservation.product.v1", "reservation.slot.v1", "reservation.order.v1", "reservation.availability.v1", "reservation.log-heads.v1"]

# The schemas say 2020-12, but use only words that mean the same in draft 7: no registry's compatibility rules refuse to read that.
PUBLISHED, UNDERSTOOD = "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"

# Who has an older schema can read what is written by a newer one: what the contract promises within a version of a topic.
FORWARD = ServerConfig(compatibility=ConfigCompatibilityLevel.FORWARD_TRANSITIVE)


def register(registry: SchemaRegistryClient, folders: list[Path]) -> dict:
    """A subject for each type of event, a version for each version of its schema. What is there already stays as it is."""
    versions = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        subject, schema = path.stem, json.loads(path.read_text())
        schema["$schema"] = UNDERSTOOD if schema["$schema"] == PUBLISHED else schema["$schema"]
        try:
            registry.register_schema(subject, Schema(json.dumps(schema), "JSON"))
            registry.set_config(subject, FORWARD)
        except SchemaRegistryError as error:
            sys.exit(f"{path}: {error}")
        versions[subject] = registry.get_versions(subject)
    return versions


class Schemas:
    """Validators by the `ce_dataschema` of records, each looked up once. Of urn:jari:schema:TYPE:1.0 the subject is TYPE; the version has it as its `$id`."""

    def __init__(self, registry: SchemaRegistryClient):
        self.registry = registry
        self.known = {}

    def of(self, data_schema: str):
        if data_schema not in self.known:
            subject = data_schema.split(":")[3]
            for version in self.registry.get_versions(subject):
                schema = json.loads(self.registry.get_version(subject, version).schema.schema_str)
                self.known[schema["$id"]] = validator_for(schema)(schema)
        return self.known[data_schema]


def records(brokers: str, prefix: str):
    """All records that the topics have now."""
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        # the library wants a name; nothing is committed under it
        "group.id": "example-schemas",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })
    there = consumer.list_topics(timeout=10).topics
    behind = {(prefix + topic, number) for topic in TOPICS for number in there[prefix + topic].partitions}
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in behind])
    while behind:
        for record in consumer.consume(num_messages=500, timeout=1.0):
            match record.error():
                case None:
                    yield dict(record.headers()), record.value()
                case error if error.code() == KafkaError._PARTITION_EOF:
                    behind.discard((record.topic(), record.partition()))
                case error:
                    raise KafkaException(error)
    consumer.close()


def check(registry: SchemaRegistryClient, brokers: str, prefix: str) -> dict:
    """How many records each schema has; the first that its schema does not allow is an error."""
    schemas, checked = Schemas(registry), Counter()
    for headers, value in records(brokers, prefix):
        data_schema = headers["ce_dataschema"].decode()
        schemas.of(data_schema).validate(json.loads(value))
        checked[data_schema] += 1
    return checked


def main():
    match sys.argv[1:]:
        case ["register", registry, folder, *more]:
            answer = register(SchemaRegistryClient({"url": registry}), [Path(name) for name in [folder, *more]])
        case ["check", registry, brokers]:
            answer = check(SchemaRegistryClient({"url": registry}), brokers, "")
        case ["check", registry, brokers, "--prefix", prefix]:
            answer = check(SchemaRegistryClient({"url": registry}), brokers, prefix)
        case _:
            sys.exit(__doc__)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
