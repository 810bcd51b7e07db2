"""bfloat16 at the edges of a model, which neither JSON nor numpy knows: carried as FP32.

Every bfloat16 is a float32, so a Cast behind each input and before each output loses nothing that
the model would have seen.
"""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, TensorProto, helper

from engine.packaging.onnx_file import graph_inputs

SUFFIX = "__bfloat16"


def carry_as_float32(model: Any) -> list[str]:
    """Change the model in place.

    Returns:
        The names of the tensors that are FP32 now.
    """
    inputs = [each for each in graph_inputs(model) if _is_bfloat16(each)]
    outputs = [each for each in model.graph.output if _is_bfloat16(each)]
    names = {each.name for each in (*inputs, *outputs)}
    for name in names:
        rename(model.graph, name, name + SUFFIX)
    before = [_cast(each.name, each.name + SUFFIX, TensorProto.BFLOAT16) for each in inputs]
    after = [_cast(each.name + SUFFIX, each.name, TensorProto.FLOAT) for each in outputs]
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for each in (*inputs, *outputs):
        each.type.tensor_type.elem_type = TensorProto.FLOAT
    return sorted(names)


def _is_bfloat16(value: Any) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.BFLOAT16)


def _cast(source: str, target: str, to: int) -> Any:
    return helper.make_node("Cast", [source], [target], to=to)


def rename(graph: Any, old: str, new: str) -> None:
    """Rename a tensor wherever nodes read or write it, in the graphs inside nodes too.

    Names of the graph's own inputs and outputs are left to the caller.
    """
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
            for each in inner:
                rename(each, old, new)
                for output in each.output:
                    if output.name == old:
                        output.name = new
