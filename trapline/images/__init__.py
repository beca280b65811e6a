"""Safe decoding for function authors: any image file to upright 8-bit RGB, at the scale asked for.

What the bytes hold is never trusted: what a file's structure says is checked before anything is decoded, only the
formats listed here are opened, and whatever goes wrong ends as one of four failure codes. Nothing here knows a model
or a bucket.
"""

from trapline.images.decoding import RGB
from trapline.images.detected import detected
from trapline.images.image import KEPT, MAX_PIXELS, SUFFIXES, Box, Image, Pixels

__all__ = ["KEPT", "MAX_PIXELS", "RGB", "SUFFIXES", "Box", "Image", "Pixels", "detected"]
