"""What other libraries say becomes part of a sentence: one line, no C++, cut between two words."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from engine.serving.reasons import MOST_CHARACTERS, lacking, reason_of
from onnx import TensorProto, helper


def graph(*nodes: onnx.NodeProto, ir: int = 10) -> bytes:
    """A model with the inputs `a` and `b`, FP32 of any size, and the output `y`."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in "ab"]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_model(
        helper.make_graph(list(nodes), "g", inputs, [output]),
        ir_version=ir,
        opset_imports=[helper.make_opsetid("", 21)],
    )
    return bytes(made.SerializeToString())


def said(content: bytes) -> str:
    """What ONNX Runtime says about loading it, or about running it on two and three values."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception) as error:
        session = ort.InferenceSession(content, options)
        sizes = zip(session.get_inputs(), (2, 3), strict=True)
        session.run(None, {each.name: np.ones(size, np.float32) for each, size in sizes})
    assert "ONNXRuntimeError" in str(error.value)
    return reason_of(error.value)


ADD = helper.make_node("Add", ["a", "b"], ["y"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (graph(ADD, ir=99), "Unsupported model IR version: 99, max supported IR version: 13"),
        (graph(ADD), "Attempting to broadcast an axis by a dimension other than 1. 2 by 3"),
        (graph(helper.make_node("Concat", ["a", "b"], ["y"], axis=5)), "axis"),
        (graph(helper.make_node("Unheard", ["a"], ["y"])), "Unheard"),
    ],
    ids=["version", "sizes", "attribute", "operator"],
)
def test_what_onnx_runtime_says_has_no_signature_of_c_plus_plus(content: bytes, words: str) -> None:
    reason = said(content)
    assert words in reason
    for sign in ("onnxruntime::", ".cc:", ".h:", "&&", "ONNXRuntimeError", "\n"):
        assert sign not in reason


def test_a_long_message_ends_between_two_words() -> None:
    whole = " ".join(f"word{number}" for number in range(200))
    reason = reason_of(ValueError(whole))
    assert len(reason) <= MOST_CHARACTERS
    assert reason.endswith(" …")
    assert whole.startswith(reason.removesuffix(" …") + " ")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(""), "ValueError"),
        (ValueError("one\n   two.\n"), "one two"),
        (RuntimeError("[10:11:12] /src/data.cc:120: bad column\nStack trace:\n  [bt] (0)"),
         "bad column"),
        (RuntimeError("[10:11:12] /src/x.cuh:9: Found one for the 0th (0-based) column: `a`"),
         "Found one for the 0th (0-based) column: `a`"),
        (KeyError("city"), "'city'"),
    ],
)  # fmt: skip
def test_a_message_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_missing_library_is_named_with_its_place() -> None:
    library = OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert lacking(library).startswith("it needs the system library libgomp.so.1, which is not")
    assert "requirements/system.txt" in lacking(library)
    module = ModuleNotFoundError("No module named 'a.b'", name="a.b")
    assert "--module a.py" in lacking(module)
    assert "requirements/serve-cpu.in" in lacking(module)
    assert lacking(ValueError("other")) == ""
