"""From a PyTorch checkpoint to an ONNX file, where the network's code is at hand. torch is needed here alone."""

from __future__ import annotations

import importlib.util
import io
import os
import pickletools
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import onnxruntime as ort

from trapline.errors import ConfigError, SurroundingsError
from trapline.models.pickles import keys_to_weights

OPSET = 17
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF"  # how files of old versions of torch.save begin
_PICKLES = 4  # of which such a file has the object as the fourth
_PLAIN = "torch.nn.modules."
_EXPORTED = ("/models/model.json", "serialized_exported_program.json")  # in what torch.export.save writes

Holds = Literal["ultralytics", "yolov5", "module", "torchscript", "weights"]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, by the names in it; nothing of it was run."""

    holds: Holds
    classes: tuple[str, ...]  # networks' own classes that it names, `package.module.Class`
    keys: tuple[Any, ...] = ()  # of `weights`: those that lead to them, where they lie in a dict with other things


def read_checkpoint(path: Path) -> Checkpoint:
    """Look into a checkpoint without loading it, torch or not. Raises `ConfigError` where it is none."""
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
            stream.seek(0)
            if head.startswith(b"PK"):
                return _of_zip(path)
            if head.startswith(b"\x80"):
                return _told(stream, _PICKLES if head.startswith(_LEGACY) else 1)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder.", remedy="Name the checkpoint's file.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", remedy="Name the checkpoint's file.") from None
    except (ValueError, zipfile.BadZipFile, EOFError, IndexError):
        raise ConfigError(f"{path} is cut off, or no checkpoint.", remedy="Copy or download it again.") from None
    raise _no_checkpoint(path, head)


def _no_checkpoint(path: Path, head: bytes) -> ConfigError:
    if not head:
        return ConfigError(f"{path} is empty (0 bytes).", remedy="Copy or download it again.")
    if path.suffix == ".onnx":
        return ConfigError(f"{path} is ONNX already.", remedy=f"Add it: `trapline models add {path} --name …`.")
    if head[8:10] == b'{"':
        return ConfigError(
            f"{path} is a safetensors file: weights without a network.",
            remedy="Export the model with its own library; Transformers: `optimum-cli export onnx --model FOLDER OUT`.",
        )
    return ConfigError(
        f"{path} is no PyTorch checkpoint.", remedy="Name a file that torch.save or torch.jit.save wrote."
    )


def _exported(path: Path) -> ConfigError:
    written = f"torch.onnx.export(torch.export.load({str(path)!r}), f='model.onnx', dynamo=True, external_data=False)"
    return ConfigError(
        f"{path} is a program of torch.export, which is made into ONNX by torch itself.",
        remedy=f'With torch and onnxscript installed: python -c "import torch; {written}".',
    )


def export(path: Path, checkpoint: Checkpoint, out: Path, size: tuple[int, int] | None) -> str:
    """Write the checkpoint's network to `out`. `size`: width, height in pixels. Returns what was compared, in words.

    Runs code that the checkpoint names: the caller has asked whether it is trusted. Raises `ConfigError`, or
    `SurroundingsError` where a package is missing.
    """
    if checkpoint.holds == "yolov5":
        raise ConfigError(
            f"{path} was made by the YOLOv5 code ({checkpoint.classes[0]}), which is no package that can be imported.",
            remedy="Export it there: git clone https://github.com/ultralytics/yolov5, then python yolov5/export.py "
            f"--weights {path} --include onnx --imgsz 1280 (the size that it was trained with).",
        )
    if checkpoint.holds == "weights":
        raise ConfigError(
            f"{path} holds weights alone; the network's code is not in it.",
            remedy="Load them into the network with the code that trained it, and export that, as in the lines above.",
        )
    _need("torch", "onnx")
    if checkpoint.holds == "ultralytics":
        return _ultralytics(path, out, size)
    if size is None:
        raise ConfigError(f"{path} does not say the size of its pictures.", remedy="Give --size WIDTHxHEIGHT.")
    return _torch(path, checkpoint, out, size)


def snippet(path: Path, checkpoint: Checkpoint, out: Path, size: tuple[int, int] | None) -> list[str]:
    """Six lines that export weights with their own code."""
    width, height = size or (224, 224)
    keys = "".join(f"[{key!r}]" for key in checkpoint.keys)
    return [
        "import torch",
        "from YOUR_CODE import YourNetwork",
        "network = YourNetwork()",
        f"network.load_state_dict(torch.load({str(path)!r}, map_location='cpu', weights_only=True){keys})",
        f"pixels, axes = torch.zeros(1, 3, {height}, {width}), {{'images': {{0: 'n'}}}}",
        f"torch.onnx.export(network.eval(), (pixels,), {str(out)!r}, input_names=['images'], dynamic_axes=axes, "
        f"opset_version={OPSET}, dynamo=False)",
    ]


# -- what is in it


def _of_zip(path: Path) -> Checkpoint:
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in files) and any("/code/" in name for name in files):
            return Checkpoint("torchscript", ())
        pickle = next((name for name in files if name.endswith("/data.pkl") or name == "data.pkl"), None)
        if any(name.endswith(_EXPORTED) for name in files):
            raise _exported(path)
        if pickle is None:
            raise ValueError("no pickle")
        return _told(io.BytesIO(archive.read(pickle)), 1)


def _names(stream: BinaryIO | Any) -> Iterator[str]:
    """Every `module.name` that a pickle would import."""
    words: list[str] = []
    for code, argument, _ in pickletools.genops(stream):
        if code.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif code.name == "STACK_GLOBAL" and len(words) > 1:
            yield ".".join(words[-2:])
        elif isinstance(argument, str):
            words.append(argument)


def _told(stream: BinaryIO, pickles: int) -> Checkpoint:
    names = [name for _ in range(pickles) for name in _names(stream)]
    known = ("torch.", "collections.", "numpy.", "builtins.", "__builtin__.", "argparse.", "pathlib.", "_codecs.")
    classes = tuple(dict.fromkeys(name for name in names if not name.startswith(known)))
    if found := [name for name in names if name.startswith("ultralytics.nn.")]:
        return Checkpoint("ultralytics", (found[0],))
    if found := [name for name in names if name.startswith(("models.yolo.", "models.common."))]:
        return Checkpoint("yolov5", (found[0],))
    if any(name.startswith(_PLAIN) for name in names):
        return Checkpoint("module", classes)
    stream.seek(0)
    return Checkpoint("weights", (), keys_to_weights(stream, pickles))


# -- running it


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise SurroundingsError(
                f"The package {package} is not installed.",
                remedy="Install the extra `train`, which has torch and onnx: pip install 'trapline[train]'.",
            )


def _ultralytics(path: Path, out: Path, size: tuple[int, int] | None) -> str:
    if importlib.util.find_spec("ultralytics") is None:
        raise SurroundingsError(
            f"{path} was made by Ultralytics' code, and the package ultralytics is not installed.",
            remedy="pip install ultralytics, and try again.",
        )
    os.environ["YOLO_AUTOINSTALL"] = "false"  # a command installs nothing behind anybody's back
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{path.suffix}"  # it writes beside the checkpoint
        shutil.copyfile(path, copy)
        try:
            from ultralytics import YOLO  # noqa: PLC0415 - an optional package

            options: dict[str, Any] = {"imgsz": [size[1], size[0]]} if size else {}
            made = YOLO(str(copy)).export(format="onnx", opset=OPSET, simplify=False, **options)
            shutil.copyfile(made, out)
        except Exception as error:  # whatever it raises
            raise _failed(path, error) from error
    return "Ultralytics' own exporter wrote it"


def _torch(path: Path, checkpoint: Checkpoint, out: Path, size: tuple[int, int]) -> str:
    import torch  # noqa: PLC0415 - an optional package

    network = _network(path, checkpoint)
    pixels = torch.rand(2, 3, size[1], size[0], generator=torch.Generator().manual_seed(7))
    part = out.with_name(f".{out.name}.part")
    try:
        network.eval()
        with torch.no_grad():
            output = network(pixels)
            expected = _first(output)
            named = {"output_names": ["output"]} if hasattr(output, "numpy") else {}
            torch.onnx.export(
                network, (pixels,), str(part), input_names=["images"], dynamic_axes={"images": {0: "n"}},
                opset_version=OPSET, dynamo=False, **named,
            )  # fmt: skip
        got = ort.InferenceSession(part.read_bytes(), providers=["CPUExecutionProvider"])
        (put, *_) = got.run(None, {"images": pixels.numpy()})
        apart = float(np.abs(put - expected).max())
        most = 1e-3 * max(1.0, float(np.abs(expected).max()))
        if not apart <= most:
            raise ValueError(f"the ONNX file gives other numbers than the network, {apart:.3g} apart")
        part.replace(out)
    except Exception as error:  # whatever the network or the exporter raise
        raise _failed(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return f"on two random pictures it gives what the network gives, at most {apart:.1g} apart"


def _network(path: Path, checkpoint: Checkpoint) -> Any:
    import torch  # noqa: PLC0415 - an optional package

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        if checkpoint.holds == "torchscript":
            return torch.jit.load(str(path), map_location="cpu").float()
        held = torch.load(path, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError) as error:
        named = ", ".join(checkpoint.classes[:3])
        raise ConfigError(
            f"{path} needs code that cannot be imported here ({_line(error)}); it names {named}.",
            remedy="Run this in the folder with that code, or install its package.",
        ) from error
    except Exception as error:  # whatever the checkpoint's own code raises
        raise _failed(path, error) from error
    for key in ("ema", "model", "network", "net", "module"):
        if isinstance(held, dict) and isinstance(held.get(key), torch.nn.Module):
            held = held[key]
    if not isinstance(held, torch.nn.Module):
        raise ConfigError(
            f"{path} holds a {type(held).__name__}, not a network.", remedy="Save the network itself with torch.save."
        )
    return held.float()


def _first(output: Any) -> Any:
    """The first tensor of what a network gives."""
    while not hasattr(output, "numpy"):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output.numpy()


def _failed(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} cannot be exported ({type(error).__name__}: {_line(error)}).",
        remedy="Export it with the code that trained it; see docs/how-to/bring-your-own-model.md.",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
