"""What a PyTorch checkpoint holds, seen without torch; and, where torch is, its network as ONNX."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trapline.errors import ConfigError, SurroundingsError
from trapline.models.exporting import export, read_checkpoint, snippet

ROOT = Path(__file__).resolve().parents[2]
TORCH = all(importlib.util.find_spec(package) for package in ("torch", "onnx"))


def pickled(*names: str) -> bytes:
    """A pickle that would import these names; loading it would fail."""
    return b"\x80\x02" + b"".join(b"c%s\n%s\n" % tuple(name.encode().rsplit(b".", 1)) for name in names) + b"."


def checkpoint(path: Path, *names: str, more: tuple[str, ...] = ()) -> Path:
    """A file as torch.save writes them, but for the weights."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled(*names))
        for name in more:
            archive.writestr(f"{path.stem}/{name}", b"x")
    return path


WEIGHTS = ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage")
HELD = [
    (WEIGHTS, "weights", ()),
    (("argparse.Namespace", "pathlib.PosixPath", *WEIGHTS), "weights", ()),
    (("nets.moths.Net", "torch.nn.modules.linear.Linear", *WEIGHTS), "module", ("nets.moths.Net",)),
    (("torch.nn.modules.container.Sequential", *WEIGHTS), "module", ()),
    (
        ("ultralytics.nn.tasks.DetectionModel", "torch.nn.modules.conv.Conv2d", *WEIGHTS),
        "ultralytics",
        ("ultralytics.nn.tasks.DetectionModel",),
    ),
    (("models.yolo.Model", "torch.nn.modules.conv.Conv2d", *WEIGHTS), "yolov5", ("models.yolo.Model",)),
]


@pytest.mark.parametrize(("names", "holds", "classes"), HELD, ids=[f"{holds} {names[0]}" for names, holds, _ in HELD])
def test_what_a_checkpoint_holds_is_seen_without_loading_it(
    tmp_path: Path, names: tuple[str, ...], holds: str, classes: tuple[str, ...]
) -> None:
    found = read_checkpoint(checkpoint(tmp_path / "c.pt", *names))
    assert (found.holds, found.classes) == (holds, classes)
    (tmp_path / "old.pt").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + pickled() * 2 + pickled(*names))
    assert read_checkpoint(tmp_path / "old.pt") == found


def test_torchscript_is_known_by_its_code(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s.pt", more=("constants.pkl", "code/__torch__.py"))
    assert read_checkpoint(path).holds == "torchscript"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pt", b"", r"is empty \(0 bytes\)"),
        ("a.pt", b"PK\x03\x04 and no more", "is cut off, or no checkpoint"),
        ("a.pt", b"\x80\x02ccollections\nOrd", "is cut off, or no checkpoint"),
        ("a.pt", b"just text", "is no PyTorch checkpoint"),
        ("a.onnx", b"\x08\x08", "is ONNX already"),
        ("a.safetensors", (8).to_bytes(8, "little") + b'{"a":{}}', "safetensors.*optimum-cli"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="is a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_checkpoint(tmp_path / "none.pt")


def test_weights_alone_and_yolov5_are_told_what_to_do(tmp_path: Path) -> None:
    path, out = tmp_path / "c.pt", tmp_path / "m.onnx"
    with pytest.raises(ConfigError, match="holds weights alone; the network's code is not in it"):
        export(path, read_checkpoint(checkpoint(path, *WEIGHTS)), out, None)
    lines = snippet(path, read_checkpoint(path), out, (64, 48))
    assert len(lines) == 6
    compile("\n".join(lines), "snippet", "exec")
    assert "weights_only=True))" in lines[3]
    checkpoint(path, "models.yolo.Model", "torch.nn.modules.conv.Conv2d")
    with pytest.raises(
        ConfigError, match=r"made by the YOLOv5 code.*yolov5/export\.py --weights .*c\.pt --include onnx"
    ):
        export(path, read_checkpoint(path), out, None)


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n)R"
NUMBER = b"K\x03"
NAMESPACE = b"cargparse\nNamespace\n)\x81}b"


def word(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def table(**values: bytes) -> bytes:
    """A pickled dict."""
    return b"}(" + b"".join(word(key) + value for key, value in values.items()) + b"u"


def state(**values: bytes) -> bytes:
    """A pickled state dict, with the attribute that torch gives it."""
    return b"ccollections\nOrderedDict\n)R" + table(**values)[1:] + table(_metadata=table()) + b"b"


WEIGHTS_IN: dict[str, tuple[bytes, str]] = {
    "at the top": (state(weight=TENSOR, bias=TENSOR), ""),
    "beside the optimizer's": (
        table(epoch=NUMBER, optimizer=table(state=table(a=table(exp_avg=TENSOR))), model_state_dict=state(w=TENSOR)),
        "['model_state_dict']",
    ),
    "beside an average of them": (table(ema=state(w=TENSOR), state_dict=state(w=TENSOR)), "['state_dict']"),
    "beside arguments": (table(args=NAMESPACE, state_dict=state(w=TENSOR)), "['state_dict']"),
    "deeper": (table(model=table(inner=state(w=TENSOR))), "['model']['inner']"),
    "in a pickle that cannot be followed": (table(a=b"N)b"), ""),
}


@pytest.mark.parametrize(("pickle", "keys"), WEIGHTS_IN.values(), ids=WEIGHTS_IN.keys())
def test_the_lines_for_weights_lead_to_them(tmp_path: Path, pickle: bytes, keys: str) -> None:
    path = tmp_path / "c.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c/data.pkl", b"\x80\x02" + pickle + b".")
    line = snippet(path, read_checkpoint(path), Path("m.onnx"), None)[3]
    assert line.endswith(f"weights_only=True){keys})")
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02N." * 2 + b"\x80\x02" + pickle + b".")
    assert snippet(path, read_checkpoint(path), Path("m.onnx"), None)[3] == line


@pytest.mark.parametrize("inside", ["models/model.json", "serialized_exported_program.json"])
def test_a_program_of_torch_export_is_named_with_what_makes_it_onnx(tmp_path: Path, inside: str) -> None:
    with zipfile.ZipFile(tmp_path / "p.pt2", "w") as archive:
        archive.writestr(f"p/{inside}", b"{}")
    with pytest.raises(ConfigError, match=r"is a program of torch\.export.*torch\.export\.load\('.*p\.pt2'\)"):
        read_checkpoint(tmp_path / "p.pt2")


def test_the_lines_are_said_where_the_refusal_is(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c.pt", *WEIGHTS)
    done = trapline(tmp_path, "c.pt")
    assert done.returncode == 2
    assert "network.load_state_dict(" in done.stderr
    assert "as in the lines above" in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(TORCH, reason="torch is here")
def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c.pt", "nets.Net", "torch.nn.modules.linear.Linear")
    with pytest.raises(SurroundingsError, match=r"torch is not installed.*pip install 'trapline\[train\]'"):
        export(path, read_checkpoint(path), tmp_path / "m.onnx", (8, 8))


def trapline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from trapline.cli import main; main()", "models", "export", *words]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        program, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_nothing_is_loaded_unless_it_is_trusted(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c.pt", "nets.Net", "torch.nn.modules.linear.Linear")
    done = trapline(tmp_path, "c.pt", "--size", "8x8")
    assert done.returncode == 2
    assert "c.pt holds a whole network (nets.Net)." in done.stderr
    assert "Add --trust if you know where it is from." in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not TORCH, reason="needs torch and onnx: the extra `train`")
def test_a_network_whose_code_is_at_hand_becomes_onnx(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.last = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)\n"
        "    def forward(self, x):\n"
        "        return self.last(self.conv(x).mean((2, 3)))\n"
        "if __name__ == '__main__':\n"
        "    from nets import Net\n"
        "    torch.save(Net(), 'whole.pt')\n"
        "    torch.save({'model': Net(), 'epoch': 3}, 'kept.pt')\n"
        "    torch.save(Net().state_dict(), 'weights.pt')\n"
        "    torch.jit.save(torch.jit.script(Net()), 'script.pt')\n"
    )
    subprocess.run([sys.executable, "nets.py"], cwd=tmp_path, check=True)
    for name in ("whole", "kept", "script"):
        done = trapline(tmp_path, f"{name}.pt", "--out", f"{name}.onnx", "--size", "16x16", "--trust", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outputs"].startswith("output [")
    assert "is there already" in trapline(tmp_path, "whole.pt", "--out", "whole.onnx", "--trust").stderr
    assert "Give --size" in trapline(tmp_path, "whole.pt", "--out", "more.onnx", "--trust").stderr
    assert "holds weights alone" in trapline(tmp_path, "weights.pt", "--out", "more.onnx").stderr
    (tmp_path / "nets.py").unlink()
    gone = trapline(tmp_path, "whole.pt", "--out", "more.onnx", "--size", "16x16", "--trust")
    assert "needs code that cannot be imported here" in gone.stderr
    assert gone.stderr.count("Traceback") == 0
    assert not (tmp_path / "more.onnx").exists()
