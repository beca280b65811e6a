"""Files of formats that Pillow would read and the pipeline does not: each claims to be huge, and is called `.jpg`."""

from __future__ import annotations

import struct

from tests.hostile.building import picture, plain, saved

SIDE = 60_000
POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 60000 60000
%%EndComments
(ghostscript-ran) (w) file closefile
showpage
%%EOF
"""


def _sized(data: bytes, at: int, shape: str, *sides: int) -> bytes:
    """A file with its size replaced."""
    sides = sides or (SIDE, SIDE)
    return data[:at] + struct.pack(shape, *sides) + data[at + struct.calcsize(shape) :]


def files() -> dict[str, bytes]:
    """By Pillow's name of the format."""
    box = plain("JPEG2000")
    avif = plain("AVIF")
    return {
        "AVIF": _sized(avif, avif.index(b"ispe") + 8, ">II"),
        "BLP": b"BLP2" + struct.pack("<IBBBBII", 1, 1, 0, 0, 0, SIDE, SIDE) + bytes(200),
        "BUFR": b"BUFR" + bytes(400),
        "CUR": b"\0\0\2\0\1\0" + bytes(400),
        "DCX": struct.pack("<II", 0x3ADE68B1, 8) + bytes(400),
        "DDS": _sized(plain("DDS"), 12, "<II"),
        "DIB": _sized(plain("DIB"), 4, "<ii"),
        "EPS": POSTSCRIPT,
        "FITS": b"".join(
            line.ljust(80)
            for line in (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 60000", b"NAXIS2  = 60000", b"END")
        ).ljust(2880),
        "FLI": struct.pack("<IHHHHHHI", 128, 0xAF11, 1, SIDE, SIDE, 8, 0, 5).ljust(128, b"\0"),
        "FTEX": b"FTC\0" + struct.pack("<IIIII", 65536, SIDE, SIDE, 1, 1) + bytes(100),
        "GBR": struct.pack(">II", 28, 2) + struct.pack(">III", SIDE, SIDE, 4) + b"GIMP" + bytes(100),
        "GRIB": b"GRIB\0\0\0\1" + bytes(400),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(400),
        "ICNS": plain("ICNS"),
        "ICO": _sized(plain("ICO"), 6, "BB", 0, 0),
        "IM": b"Image type: RGB image\r\nImage size (x*y): 60000*60000\r\n\x1a".ljust(600, b"\0"),
        "IMT": b"*IMT\nwidth 60000\nheight 60000\n\x0c" + bytes(400),
        "IPTC": b"\x1c\x03\x0a\0\1\0" + bytes(400),
        "JPEG2000": _sized(box, box.index(b"ihdr") + 4, ">II"),
        "MCIDAS": b"\0\0\0\0\0\0\0\4" + struct.pack(">62i", *[SIDE] * 62),
        "MPEG": b"\0\0\1\xb3" + b"\xff" * 400,
        "MSP": b"DanM" + struct.pack("<HH", SIDE, SIDE) + bytes(400),
        "PCD": bytes(2048) + b"PCD_" + bytes(4000),
        "PCX": _sized(plain("PCX"), 8, "<HH"),
        "PIXAR": b"\200\350\0\0".ljust(416, b"\0") + struct.pack("<HH", SIDE, SIDE) + bytes(700),
        "PPM": b"P6 60000 60000 255\n" + bytes(400),
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, SIDE // 2, SIDE // 2, 8, 3) + bytes(40),
        "QOI": b"qoif" + struct.pack(">IIBB", SIDE, SIDE, 4, 0) + b"\xfd" * 400,
        "SGI": _sized(plain("SGI"), 6, ">HH"),
        "SPIDER": saved(picture().convert("F"), "SPIDER"),
        "SUN": struct.pack(">8I", 0x59A66A95, SIDE, SIDE, 24, 0, 1, 0, 0) + bytes(400),
        "TGA": _sized(plain("TGA"), 12, "<HH"),
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 32000, 32000, 1) + bytes(100),
        "XBM": b"#define x_width 60000\n#define x_height 60000\nstatic char x_bits[] = {\n0x00 };\n",
        "XPM": b'/* XPM */\nstatic char *x[] = {\n"60000 60000 1 1",\n"a c #000000"\n};\n',
        "XVTHUMB": b"P7 332\n#END_OF_COMMENTS\n60000 60000 255\n" + bytes(400),
    }
