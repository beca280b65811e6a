"""HTTP that strangers post, let in by bounds and credentials. What a message means is its taker's business."""

from trapline.inbound.server import HEALTH, SIGNATURE, Address, Answer, Credentials, Inbound, Request, is_loopback

__all__ = ["HEALTH", "SIGNATURE", "Address", "Answer", "Credentials", "Inbound", "Request", "is_loopback"]
