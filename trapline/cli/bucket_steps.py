"""What to do by hand where a store's notifications cannot be configured through S3's API."""

from __future__ import annotations


def steps(bucket: str, address: str) -> dict[str, list[str]]:
    """The steps for each kind of store, as lines to copy."""
    return {
        "MinIO": [*_environment("MINIO", address), *_given("minio")],
        "RustFS": [*_environment("RUSTFS", address), *_given("rustfs")],
        "versitygw": [f"start it with --event-webhook-url {address}"],
        "SeaweedFS": [
            "in notification.toml of the filer, then restart it:",
            "[notification.webhook]",
            "enabled = true",
            f'endpoint = "{address}"',
            'event_types = ["create", "update", "delete", "rename"]',
            f'path_prefixes = ["/buckets/{bucket}"]',
        ],
        "Garage, rclone and others": [
            "they tell of nothing: sweeps find what is uploaded; in pipeline.yaml, for example",
            "sweeps: {open: PT15S, names: PT30S}",
        ],
    }


def _environment(name: str, address: str) -> list[str]:
    return [
        "in the server's environment, then restart it:",
        f"{name}_NOTIFY_WEBHOOK_ENABLE_TRAPLINE=on",
        f"{name}_NOTIFY_WEBHOOK_ENDPOINT_TRAPLINE={address}",
    ]


def _given(name: str) -> list[str]:
    return ["then:", f"trapline bucket-events setup --queue arn:{name}:sqs::TRAPLINE:webhook"]
