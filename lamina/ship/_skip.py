"""Skip: pictures of the frame's size pass a graph without being resized: an ONNX If around what would give them back unchanged.

Resizing takes about as many operations as a LeNet has itself. What is resized stays as it was, in the other branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
from onnx import TensorProto, helper

SCOPES = "pkg.torch.onnx.name_scopes"  # where torch writes which module a node belongs to


def skip(graph: onnx.GraphProto, module: str, image: str, frame: Sequence[int]) -> None:
    """Let `module`, which resizes the input `image` to a frame (channels, height, width), be computed for other sizes alone.

    A graph that names no such module stays as it is.
    """
    own = [i for i, node in enumerate(graph.node) if module in _scopes(node)]
    if not own or len(graph.node[own[-1]].output) != 1:
        return
    last = own[-1]
    inside = _alone(graph, last)
    resized = graph.node[last].output[0]
    moved = [node for i, node in enumerate(graph.node) if i in inside]
    made = {name for node in moved for name in node.output}
    told = {value.name: value for value in graph.value_info}
    otherwise = helper.make_graph(
        moved, "resized", [], [_picture(f"{resized} in the frame", frame)],
        value_info=[told[name] for name in sorted(made & told.keys() - {resized})],
    )  # fmt: skip
    otherwise.node[-1].output[0] = f"{resized} in the frame"
    before, after = list(graph.node[:last]), list(graph.node[last + 1 :])
    kept = [node for i, node in enumerate(before) if i not in inside]
    chosen = _choice(graph, image, frame, resized)
    branch = helper.make_node(
        "If",
        [chosen[-1].output[0]],
        [resized],
        then_branch=_as_it_is(graph, image, frame, resized),
        else_branch=otherwise,
    )
    values = [v for v in graph.value_info if v.name not in made - {resized}]
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*kept, *chosen, branch, *after])
    graph.value_info.extend(values)


def _scopes(node: onnx.NodeProto) -> list[str]:
    found = next((p.value for p in node.metadata_props if p.key == SCOPES), "[]")
    return found.strip("[]").replace("'", "").split(", ")


def _alone(graph: onnx.GraphProto, last: int) -> set[int]:
    """Places of the nodes that serve none but the node at `last`, and that one."""
    users: dict[str, set[int]] = {}
    for i, node in enumerate(graph.node):
        for name in _read(node):
            users.setdefault(name, set()).add(i)
    for value in graph.output:
        users.setdefault(value.name, set()).add(-1)
    inside = {last}
    for i in range(last - 1, -1, -1):
        wanted = set().union(*(users.get(name, set()) for name in graph.node[i].output))
        if wanted and wanted <= inside:
            inside.add(i)
    return inside


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names of what a node reads, in its branches too."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for part in attribute.g.node:
                yield from _read(part)


def _picture(name: str, frame: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *frame])


def _constant(graph: onnx.GraphProto, name: str, values: Sequence[int]) -> str:
    graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
    return name


def _choice(graph: onnx.GraphProto, image: str, frame: Sequence[int], name: str) -> list[onnx.NodeProto]:
    """Nodes whose last output is a bool: whether the picture has the frame's height, width and channels."""
    wanted = _constant(graph, f"{name} frame", [*frame[1:], frame[0]])
    return [
        helper.make_node("Shape", [image], [f"{name} given"], start=1),
        helper.make_node("Equal", [f"{name} given", wanted], [f"{name} each"]),
        helper.make_node("Cast", [f"{name} each"], [f"{name} ones"], to=TensorProto.INT32),
        helper.make_node("ReduceMin", [f"{name} ones"], [f"{name} all"], keepdims=0),
        helper.make_node("Cast", [f"{name} all"], [f"{name} fits"], to=TensorProto.BOOL),
    ]


def _as_it_is(graph: onnx.GraphProto, image: str, frame: Sequence[int], name: str) -> onnx.GraphProto:
    """uint8 (rows, height, width, channels) -> float (rows, channels, height, width)."""
    shape = _constant(graph, f"{name} shape", [0, *frame])  # 0: as many as there are
    nodes = [
        helper.make_node("Cast", [image], [f"{name} float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [f"{name} float"], [f"{name} planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", [f"{name} planes", shape], [f"{name} as it is"]),
    ]
    return helper.make_graph(nodes, "as it is", [], [_picture(f"{name} as it is", frame)])
