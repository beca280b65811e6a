"""An emulator of SQS and SNS for a test, moto's server: its speed and its limits are its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

KEYS: dict[str, Any] = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


@dataclass
class Aws:
    """The emulated services."""

    endpoint: str

    @property
    def sqs(self) -> SQSClient:
        return boto3.client("sqs", endpoint_url=self.endpoint, **KEYS)

    @property
    def sns(self) -> SNSClient:
        return boto3.client("sns", endpoint_url=self.endpoint, **KEYS)

    def queue(self, name: str, **attributes: str) -> str:
        """A new queue's URL."""
        given: Any = attributes
        return self.sqs.create_queue(QueueName=name, Attributes=given)["QueueUrl"]

    def send(self, url: str, bodies: Sequence[str], **more: str) -> None:
        sqs = self.sqs
        for start in range(0, len(bodies), 10):
            some = bodies[start : start + 10]
            entries: Any = [
                {"Id": str(n), "MessageBody": body, **more}
                | ({"MessageDeduplicationId": str(start + n)} if more else {})
                for n, body in enumerate(some)
            ]
            assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")

    def publish(self, url: str, body: str, *, raw: bool) -> None:
        """By way of a new topic to which the queue subscribed."""
        topic = self.sns.create_topic(Name=f"raw-{raw}")["TopicArn"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"RawMessageDelivery": json.dumps(raw)}
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        self.sns.publish(TopicArn=topic, Message=body)

    def left(self, url: str) -> int:
        """Messages in the queue, those that somebody received and did not delete among them."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


@contextmanager
def emulated(port: int = 0) -> Iterator[Aws]:
    """The services, empty at first."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Aws(f"http://{host}:{port}")
    finally:
        server.stop()
