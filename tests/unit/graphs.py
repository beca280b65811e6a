"""ONNX files in the shapes that exporters write, small, with weights that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Ports = Mapping[str, Sequence[int | str]]
DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def network(
    outputs: Ports,
    source: Sequence[int | str] = ("n", 3, 64, 64),
    *,
    name: str = "images",
    dtype: str = "float32",
    after: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
    inputs: Ports | None = None,
    shift: float = 0.0,
) -> bytes:
    """A graph from pictures to outputs of these shapes, batch first. `after`: a last operator for an output.

    Values come from the mean of each colour, times random weights; `shift` is added to them.
    """
    nodes, weights = _colours(name, dtype, source), []
    for number, (put, shape) in enumerate(outputs.items()):
        inner = [int(side) for side in shape[1:]]
        random = np.random.default_rng(number).normal(size=(3, int(np.prod(inner)))).astype(np.float32)
        batch = shape[0] if isinstance(shape[0], int) else -1
        weights += [
            numpy_helper.from_array(random, f"w{number}"),
            numpy_helper.from_array(np.array([batch, *inner]), f"s{number}"),
            numpy_helper.from_array(np.array(shift, np.float32), f"d{number}"),
        ]
        last = (after or {}).get(put)
        made = f"{put}-" if last else put
        nodes += [
            helper.make_node("MatMul", ["colours", f"w{number}"], [f"m{number}"]),
            helper.make_node("Add", [f"m{number}", f"d{number}"], [f"a{number}"]),
            helper.make_node("Reshape", [f"a{number}", f"s{number}"], [made]),
        ]
        if last:
            nodes.append(helper.make_node(last, [made], [put], **({"axis": -1} if last == "Softmax" else {})))
    ports = {name: source, **(inputs or {})}
    taken = [helper.make_tensor_value_info(put, DTYPES[dtype], list(shape)) for put, shape in ports.items()]
    given = [helper.make_tensor_value_info(put, TensorProto.FLOAT, list(shape)) for put, shape in outputs.items()]
    graph = helper.make_graph(nodes, "main_graph", taken, given, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="pytorch")
    model.ir_version = 8
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())


def ultralytics(task: str, names: Sequence[str], imgsz: int, **more: str) -> dict[str, str]:
    """What Ultralytics writes into a file."""
    return {
        "description": "Ultralytics YOLOv8n model",
        "author": "Ultralytics",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "task": task,
        "stride": "32",
        "batch": "1",
        "imgsz": f"[{imgsz}, {imgsz}]",
        "names": str(dict(enumerate(names))),
        **more,
    }


def with_external(location: str) -> bytes:
    """A graph whose weights are said to be in another file."""
    model = onnx.load_from_string(network({"scores": ["n", 4]}))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return bytes(model.SerializeToString())


def endless() -> bytes:
    """A graph that takes pictures and goes round 2**62 times."""
    inner = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("on", 9), ("x", 1))]
    nodes = [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Add", ["x", "x"], ["y"])]
    given = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("still", 9), ("y", 1))]
    model = onnx.load_from_string(network({"m": ["n", 3]}))
    loop = helper.make_node("Loop", ["rounds", "", "m"], ["scores"], body=helper.make_graph(nodes, "b", inner, given))
    model.graph.node.append(loop)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "rounds"))
    model.graph.output[0].name = "scores"
    return bytes(model.SerializeToString())


def nested(depth: int) -> bytes:
    """A graph of functions, each of which calls the next."""
    model = onnx.load_from_string(network({"m": ["n", 3]}))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for level in range(depth):
        call = helper.make_node(f"f{level + 1}", ["a"], ["b"], domain="own")
        call = call if level < depth - 1 else helper.make_node("Identity", ["a"], ["b"])
        model.functions.append(helper.make_function("own", f"f{level}", ["a"], ["b"], [call], opsets))
    model.graph.node.append(helper.make_node("f0", ["m"], ["scores"], domain="own"))
    model.graph.output[0].name = "scores"
    model.opset_import.append(opsets[1])
    return bytes(model.SerializeToString())


def _colours(name: str, dtype: str, source: Sequence[int | str]) -> list[Any]:
    """From pictures to the mean of each colour, n x 3; from one colour or from rows, to something of that shape."""
    nodes = [] if dtype == "float32" else [helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT)]
    taken = "cast" if nodes else name
    if len(source) != 4:
        return [*nodes, helper.make_node("Identity", [taken], ["colours"])]
    axes = [1, 2] if source[3] == 3 else [2, 3]
    mean = helper.make_node("ReduceMean", [taken], ["mean"], axes=axes, keepdims=0)
    if source[1] != 1:
        return [*nodes, mean, helper.make_node("Identity", ["mean"], ["colours"])]
    return [*nodes, mean, helper.make_node("Concat", ["mean"] * 3, ["colours"], axis=1)]
