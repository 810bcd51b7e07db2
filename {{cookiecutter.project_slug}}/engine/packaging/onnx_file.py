"""Read an ONNX file before any runtime sees it: what it holds, what lies outside it, what it needs.

Source: ONNX's "IR" and "External Data" documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto

from engine.packaging.class_outputs import class_names, flattened
from engine.serving.errors import PackageError

LFS_POINTER = b"version https://git-lfs"
ELEMENTS = frozenset(
    (
        TensorProto.BOOL, TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32,
        TensorProto.UINT64, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32,
        TensorProto.INT64, TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE,
        TensorProto.STRING, TensorProto.BFLOAT16,
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A parsed ONNX file, and the files beside it that hold its weights, by plain name.

    ``remarks`` say which outputs were changed to be carried, and ``classes`` are names that the
    graph holds, by tensor.
    """

    model: Any
    external: dict[str, Path]
    remarks: list[str] = field(default_factory=list)
    classes: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def opsets(self) -> dict[str, int]:
        """Versions of the operator sets by domain; "ai.onnx" is the default one."""
        return {each.domain or "ai.onnx": each.version for each in self.model.opset_import}

    def metadata(self, key: str) -> str:
        """An entry of the file's own metadata, empty where there is none."""
        return next((each.value for each in self.model.metadata_props if each.key == key), "")


def read_onnx(path: Path) -> OnnxFile:
    """Parse and check an ONNX file; its weights are not loaded.

    Raises:
        PackageError: not ONNX, only a pointer to it, its weights are missing or truncated, or a
            tensor has a type that the Open Inference Protocol cannot carry.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    if content.startswith(LFS_POINTER):
        raise PackageError(f"{path}: is a Git LFS pointer, not the model; run `git lfs pull`")
    return parse_onnx(content, path)


def parse_onnx(content: bytes, path: Path) -> OnnxFile:
    """The same for bytes; files beside ``path`` hold the weights that are not inside."""
    model: Any = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # noqa: BLE001 - the parser's class depends on its implementation
        raise PackageError(
            f"{path}: is not an ONNX model, or is truncated; copy it again, or export it again"
        ) from None
    if not model.graph.node and not model.graph.output:
        raise PackageError(
            f"{path}: is not an ONNX model: it has neither nodes nor outputs; export it again"
        )
    classes = class_names(model)
    remarks = flattened(model)
    _check_types(model, path)
    return OnnxFile(model, _external_files(model, path), remarks, classes)


def graph_inputs(model: Any) -> list[Any]:
    """Inputs that a caller gives; old files list their weights as inputs too."""
    weights = {each.name for each in model.graph.initializer}
    weights |= {each.values.name for each in model.graph.sparse_initializer}
    return [each for each in model.graph.input if each.name not in weights]


def _check_types(model: Any, path: Path) -> None:
    for kind, values in (("input", graph_inputs(model)), ("output", model.graph.output)):
        for value in values:
            form = value.type.WhichOneof("value")
            if form != "tensor_type":
                raise PackageError(
                    f"{path}: {kind} {value.name!r} is a {form}; the Open Inference Protocol "
                    "carries tensors only: export it as tensors (probabilities: zipmap=False)"
                )
            element = value.type.tensor_type.elem_type
            if element not in ELEMENTS:
                raise PackageError(
                    f"{path}: {kind} {value.name!r} is {TensorProto.DataType.Name(element)}, which "
                    "the Open Inference Protocol cannot carry; export it as FLOAT or INT8"
                )


def _external_files(model: Any, path: Path) -> dict[str, Path]:
    """Find the files with weights, check that they are whole, and give them plain names."""
    found: dict[str, Path] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {each.key: each for each in tensor.external_data}
        location = entries["location"].value if "location" in entries else ""
        weights = _inside(path, location)
        end = _number(entries, "offset") + _number(entries, "length")
        try:
            size = weights.stat().st_size
        except OSError:
            raise PackageError(
                f"{path}: its weights are in {location!r}, which is not there; copy that file "
                "beside the model"
            ) from None
        if size < end:
            raise PackageError(
                f"{weights}: has {size} bytes and tensor {tensor.name!r} ends at byte {end}; the "
                "file is truncated: copy it again (with Git LFS: `git lfs pull`)"
            )
        plain = weights.name
        if found.setdefault(plain, weights) != weights:
            raise PackageError(f"{path}: two of its weight files are called {plain!r}; rename one")
        entries["location"].value = plain
    return found


def _inside(path: Path, location: str) -> Path:
    parts = PurePosixPath(location)
    if not location or parts.is_absolute() or ".." in parts.parts:
        raise PackageError(
            f"{path}: its weights are in {location!r}; a place beside the model is allowed only"
        )
    return path.parent / parts


def _number(entries: dict[str, Any], key: str) -> int:
    return int(entries[key].value) if key in entries else 0


def _tensors(graph: Any) -> Iterator[Any]:
    """All constant tensors of a graph and of the graphs inside its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors
            elif attribute.type == AttributeProto.GRAPH:
                yield from _tensors(attribute.g)
            elif attribute.type == AttributeProto.GRAPHS:
                for inner in attribute.graphs:
                    yield from _tensors(inner)
