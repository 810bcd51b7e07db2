"""Models that ONNX Runtime does not load as they are: other operator sets, another locale.

ONNX's own converter rewrites operators that are too new for the runtime, or too old. Whether the
result still answers alike is decided by the golden record, as for every other model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper, version_converter

# The newest that ONNX Runtime 1.31 knows, and one that nearly all its operators are complete in.
TARGETS = (25, 21)
NEWEST_IR = 13
# StringNormalizer's default, en_US.UTF-8, is not there in slim images; this one always is.
LOCALE = "C.UTF-8"


def adapted(model: Any) -> Iterator[tuple[Any, str]]:
    """Changed copies of the model, each with a remark that says what was changed."""
    lowered = with_known_version(model)
    if lowered is not model:
        yield lowered, ""
        model = lowered
    normalizers = [node for node in model.graph.node if node.op_type == "StringNormalizer"]
    if any(not _has_locale(node) for node in normalizers):
        yield _with_locale(model), f"text is normalised in the locale {LOCALE}"
    before = next((each.version for each in model.opset_import if not each.domain), None)
    if before is None:
        return
    for target in TARGETS:
        fresh = _converted(model, target) if target != before else None
        if fresh is None:
            continue
        fresh.ir_version = min(fresh.ir_version, NEWEST_IR)
        yield fresh, f"converted from operator set {before} to {target}, which the runtime has"


def with_known_version(model: Any) -> Any:
    """The model, or a copy whose version of the IR the runtime knows: newer ones only add to it.

    A newer operator set says something else than an older one, and is left to the converter.
    """
    newest = max((each.version for each in model.opset_import if not each.domain), default=0)
    if model.ir_version <= NEWEST_IR or newest > TARGETS[0]:
        return model
    copy = _copy(model)
    copy.ir_version = NEWEST_IR
    return copy


def _converted(model: Any, target: int) -> Any:
    """The model in that operator set; None where the converter does not know how."""
    try:
        return version_converter.convert_version(_copy(model), target)
    except Exception:  # noqa: BLE001 - the converter's C++ asserts arrive as any class
        return None


def _with_locale(model: Any) -> Any:
    copy = _copy(model)
    for node in copy.graph.node:
        if node.op_type == "StringNormalizer" and not _has_locale(node):
            node.attribute.append(helper.make_attribute("locale", LOCALE))
    return copy


def _has_locale(node: Any) -> bool:
    return any(each.name == "locale" for each in node.attribute)


def _copy(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
