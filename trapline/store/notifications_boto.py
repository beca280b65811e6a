"""What boto3 does about notifications: a bucket's configuration, and the topics that its rules name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError

from trapline.errors import ConfigError, StoreDenied
from trapline.store.keys_boto import found_keys, keys_wrong
from trapline.store.notifications import Configuration, Kind, NotConfigurable, Overlapping, rules_in
from trapline.store.s3 import CONNECT, READ, S3Settings
from trapline.store.s3_boto import boto_meaning, client, is_aws

_CEPH = re.compile(r"tx[0-9a-f]{21}-[0-9a-f]+-")  # how every request id of a RADOS gateway begins
_UNSUPPORTED = frozenset(
    ("NotImplemented", "XNotImplemented", "MethodNotAllowed", "NotSupported", "UnsupportedOperation", "405", "501")
)
_NO_SUCH_CALL = frozenset(("BucketAlreadyExists", "BucketAlreadyOwnedByYou"))  # it took `PUT ?notification` for `PUT`
_PASSWORD = re.compile(r"^([^:/@]*://[^:/@]*):.*@", re.DOTALL)  # up to the last `@`: a mistyped one may hold anything
_NO_TARGET = ("destination", "arn", "topic", "queue")
_MISSING_TOPIC = frozenset(("NotFound", "NoSuchKey", "NoSuchEntity", "404"))


class BucketNotifications:
    """The notification rules of one bucket. Errors as of a store, and `NotConfigurable` where it has no such API."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._s3 = client("s3", settings)
        self._answer = b""
        self._s3.meta.events.register("before-parse.s3.GetBucketNotificationConfiguration", self._keep)
        self.kind: Kind = "aws" if is_aws(settings) else "other"  # `read` knows Ceph by its answers

    def read(self) -> Configuration:
        """The whole configuration, as S3 words it."""
        with self._refusals():
            found = self._s3.get_bucket_notification_configuration(Bucket=self._settings.bucket)
        about = found.pop("ResponseMetadata", {})
        if b"<ListBucketResult" in self._answer[:500]:  # the store ignored `?notification`
            raise self._not_configurable()
        if self.kind == "other" and _CEPH.match(str(about.get("RequestId", ""))):
            self.kind = "ceph"
        return dict(found)

    def write(self, configuration: Configuration) -> None:
        """Put a configuration. Ceph adds it to what is there, every other store puts it in its place."""
        with self._refusals():
            self._s3.put_bucket_notification_configuration(
                Bucket=self._settings.bucket, NotificationConfiguration=configuration
            )

    def delete(self, ids: Iterable[str]) -> None:
        """Remove single rules: an extension of Ceph, which takes no empty configuration."""
        for name in ids:
            self._delete(name)

    # -- topics

    def make_topic(self, name: str, url: str, *, verify: bool, cloudevents: bool) -> str:
        """Make the topic that tells an address, or bring it up to date; returns its ARN."""
        if self.kind == "aws":
            return self._subscribed_topic(name, url)
        told = {
            "push-endpoint": url,
            "persistent": "true",
            "verify-ssl": str(verify).lower(),
            "cloudevents": str(cloudevents).lower(),
        }
        with self._refusals():
            arn = self._sns.create_topic(Name=name, Attributes=told).get("TopicArn")
        if not arn:
            raise self._not_configurable("topics")
        if self.kind == "other" and self.address_of(arn) != without_password(url):  # it makes topics that tell nobody
            self.delete_topic(arn)
            raise self._not_configurable("topics that tell an address")
        return str(arn)

    def find_topic(self, name: str) -> str:
        """The ARN of a topic by its name; empty where there is none."""
        with self._refusals():
            pages = self._sns.get_paginator("list_topics").paginate()
            arns = (topic["TopicArn"] for page in pages for topic in page.get("Topics") or ())
            return next((arn for arn in arns if arn.rpartition(":")[2] == name), "")

    def address_of(self, topic: str) -> str:
        """Where a topic of Ceph tells, without its password; empty where that is not known."""
        try:
            found = self._sns.get_topic_attributes(TopicArn=topic).get("Attributes", {})
            return without_password(json.loads(found.get("EndPoint", "{}"))["EndpointAddress"])
        except (BotoCoreError, ClientError, ResponseParserError, ValueError, KeyError, TypeError):
            return ""

    def addresses_of(self, targets: Iterable[str]) -> dict[str, str]:
        """By the ARN of each topic of Ceph where it tells; nothing at other stores."""
        return {arn: self.address_of(arn) for arn in sorted(set(targets))} if self.kind == "ceph" else {}

    def other_addresses(self, topic: str, url: str) -> list[str]:
        """Whom else a topic of AWS tells, as (pending or not) subscribed; none where that may not be asked."""
        try:
            pages = self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
            found = [one["Endpoint"] for page in pages for one in page.get("Subscriptions") or ()]
        except (BotoCoreError, ClientError):
            return []
        return sorted({without_password(address) for address in found if address != url})

    def other_bucket(self, topic: str) -> str:
        """Another bucket of these keys' owner with a rule that names a topic; empty where none can be seen.

        Only Ceph is asked: on AWS, `_may_publish` lets no other bucket tell a topic.
        """
        if self.kind != "ceph":
            return ""
        try:
            names = [bucket["Name"] for bucket in self._s3.list_buckets().get("Buckets", ())]
        except (BotoCoreError, ClientError):
            return ""
        return next((name for name in names if name != self._settings.bucket and self._names(name, topic)), "")

    def _names(self, bucket: str, topic: str) -> bool:
        try:
            found = self._s3.get_bucket_notification_configuration(Bucket=bucket)
        except (BotoCoreError, ClientError, ResponseParserError):
            return False
        return any(rule.target == topic for rule in rules_in(found))

    def delete_topic(self, topic: str) -> None:
        with self._refusals():
            self._sns.delete_topic(TopicArn=topic)

    @property
    def _sns(self) -> Any:
        return client("sns", self._settings)

    def _subscribed_topic(self, name: str, url: str) -> str:
        with self._refusals():
            arn = str(self._sns.create_topic(Name=name)["TopicArn"])
            policy = json.dumps(_may_publish(arn, self._settings.bucket))
            self._sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
            self._sns.subscribe(TopicArn=arn, Protocol=urlsplit(url).scheme, Endpoint=url)
        return arn

    # -- the rest

    def _keep(self, response_dict: dict[str, Any], **_: object) -> None:
        self._answer = response_dict["body"]

    def _delete(self, name: str) -> None:
        request = AWSRequest("DELETE", f"{self._bucket_url()}?notification={quote(name, safe='')}")
        S3SigV4Auth(found_keys(self._settings), "s3", self._settings.region).add_auth(request)
        verify = str(self._settings.ca_bundle) if self._settings.ca_bundle else True
        with self._refusals():
            session: Any = URLLib3Session
            answer = session(verify=verify, timeout=(CONNECT, READ)).send(request.prepare())
            if answer.status_code >= 300 and answer.status_code != 404:
                raise ClientError({"Error": {"Code": str(answer.status_code)}}, "DeleteBucketNotification")

    def _bucket_url(self) -> str:
        return f"{(self._settings.endpoint or '').rstrip('/')}/{self._settings.bucket}"

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._meaning(error) from error
        except (ResponseParserError, KeyError) as error:  # a page for people, or the answer to another call
            raise self._not_configurable() from error
        except (BotoCoreError, OSError) as error:
            raise boto_meaning(error, "", self._settings) from error

    def _meaning(self, error: ClientError) -> Exception:
        if wrong := keys_wrong(error, self._settings.place):
            return wrong
        told = error.response.get("Error", {})  # absent where a store answers SNS in the words of S3
        code, said = str(told.get("Code", "")), str(told.get("Message", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in _UNSUPPORTED or status in (405, 501):
            return self._not_configurable()
        if error.operation_name == "PutBucketNotificationConfiguration" and code in _NO_SUCH_CALL:
            return self._not_configurable()
        if error.operation_name == "CreateTopic" and self.kind == "other":
            return self._not_configurable("topics")
        if error.operation_name == "CreateTopic" and status == 400:  # Ceph words its reason in no way that boto3 reads
            return _no_address(self._settings)
        if code in ("AccessDenied", "AuthorizationError"):
            return _denied(error.operation_name, self._settings)
        if error.operation_name == "PutBucketNotificationConfiguration" and code != "NoSuchBucket":
            return _not_taken(code, said, self._settings)
        return boto_meaning(error, "", self._settings)

    def _not_configurable(self, what: str = "notifications") -> NotConfigurable:
        return NotConfigurable(f"The {self._settings.place} has no API for {what}.")


def without_password(url: str) -> str:
    """An address as it may be shown."""
    return _PASSWORD.sub(r"\1:…@", url)


def _may_publish(topic: str, bucket: str) -> dict[str, Any]:
    """The policy of a topic to which S3 tells what happens in one bucket."""
    partition = topic.split(":")[1]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "SNS:Publish",
                "Resource": topic,
                "Condition": {"ArnLike": {"aws:SourceArn": f"arn:{partition}:s3:::{bucket}"}},
            }
        ],
    }


def _denied(operation: str, settings: S3Settings) -> StoreDenied:
    return StoreDenied(
        f"These credentials may not do {operation} on {settings.place}.",
        remedy="They need s3:GetBucketNotification and s3:PutBucketNotification; with --url also sns:CreateTopic, "
        "sns:SetTopicAttributes, sns:Subscribe, sns:ListTopics, sns:DeleteTopic and sns:ListSubscriptionsByTopic.",
    )


def _no_address(settings: S3Settings) -> ConfigError:
    return ConfigError(
        f"The {settings.place} did not take the address.",
        remedy="Ceph takes a user and a password in an https:// address alone, unless its "
        "rgw_allow_notification_secrets_in_cleartext is set. Without them, let the webhook listen on 127.0.0.1.",
    )


def _not_taken(code: str, said: str, settings: S3Settings) -> ConfigError:
    message = f"The {settings.place} did not take the rules: {code}{f' ({said})' if said else ''}."
    if "overlap" in (code + said).lower():
        return Overlapping(message, remedy="It takes one rule for an event and a prefix.")
    if code in _MISSING_TOPIC or any(word in said.lower() for word in _NO_TARGET):
        return ConfigError(
            message, remedy="Check the ARN: that it exists, in the bucket's region, and that S3 may send to it."
        )
    return ConfigError(message, remedy="Look at what is configured: `trapline bucket-events show`.")
