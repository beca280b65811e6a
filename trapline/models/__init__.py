"""Models: their cards, their ONNX sessions, what their outputs mean. Where models are kept is not known here."""

from trapline.models.card import Input, ModelCard, Nms, Pad, Taxon, Tiles, checked_card, read_card, sha256_of
from trapline.models.heads import Detection
from trapline.models.session import Model, check_model

__all__ = [
    "Detection",
    "Input",
    "Model",
    "ModelCard",
    "Nms",
    "Pad",
    "Taxon",
    "Tiles",
    "check_model",
    "checked_card",
    "read_card",
    "sha256_of",
]
