"""Everything that talks to Kafka. Stages import from here and never from aiokafka."""

from aiokafka import AIOKafkaConsumer as Consumer
from aiokafka import AIOKafkaProducer as Producer
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RequestTimedOutError,
    TransactionCoordinatorFenced,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from service.kafka.clients import (
    admin_client,
    consumer,
    producer,
    require_topics,
    started,
    transactional_producer,
    unavailable,
)

__all__ = [
    "CommitFailedError",
    "Consumer",
    "ConsumerRebalanceListener",
    "ConsumerRecord",
    "IllegalStateError",
    "InvalidProducerEpoch",
    "KafkaConnectionError",
    "KafkaError",
    "KafkaTimeoutError",
    "OffsetAndMetadata",
    "OffsetOutOfRangeError",
    "Producer",
    "ProducerFenced",
    "RequestTimedOutError",
    "TopicPartition",
    "TransactionCoordinatorFenced",
    "UnknownTopicOrPartitionError",
    "admin_client",
    "consumer",
    "producer",
    "require_topics",
    "started",
    "transactional_producer",
    "unavailable",
]
