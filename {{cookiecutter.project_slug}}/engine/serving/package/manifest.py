"""The manifest of a model package, ``model.yaml``: what the model is and where it comes from."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.serving.errors import PackageError
from engine.serving.package.digest import MANIFEST
from engine.serving.tensors.datatypes import Datatype
from engine.serving.tensors.known_values import KnownValues, Value
from engine.serving.tensors.signature import Signature, TensorSpec

# Ten thousand inputs with names of their own need a tenth of it.
MOST_BYTES = 16 * 1024 * 1024

GOLDEN = "golden.npz"
MATRIX = 2
MOST_CHOICES = 100
TableForm = Literal["array", "dataframe"]
Batching = Literal["auto", "declared", "never"]
Method = Literal["predict", "predict_proba", "decision_function", "transform", "inplace_predict"]


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("letters, digits, '.', '_' and '-' only, beginning with a letter or digit")
    return value


def _file_name(value: str) -> str:
    _plain_name(value.lstrip("_"))
    return value


def _module_name(value: str) -> str:
    if not all(part.isidentifier() for part in value.split(".")):
        raise ValueError("the dotted name of a Python module")
    return value


def _debian_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
        raise ValueError("the name of a Debian package: lower-case letters, digits, '+', '-', '.'")
    return value


def _dimensions(value: tuple[int, ...]) -> tuple[int, ...]:
    if any(dimension < -1 for dimension in value):
        raise ValueError("dimensions are sizes, or -1 where the size varies")
    return value


PlainName = Annotated[str, AfterValidator(_plain_name)]
FileName = Annotated[str, AfterValidator(_file_name)]
ModuleName = Annotated[str, AfterValidator(_module_name)]
DebianName = Annotated[str, AfterValidator(_debian_name)]
Shape = Annotated[tuple[int, ...], AfterValidator(_dimensions)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class FileEntry(_Strict):
    """One file of the package."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Tolerance(_Strict):
    """``|served - golden| <= absolute + relative * |golden|``, for floating-point outputs."""

    absolute: float = Field(1e-5, ge=0)
    relative: float = Field(1e-5, ge=0)
    reason: str = ""


class InputTensor(_Strict):
    """One input. ``features`` names the columns of a table-shaped input.

    ``missing`` is the text that the model takes for a missing value; null in JSON becomes it.
    ``categorical`` is a column that the DataFrame holds in pandas' type category, ``date`` one that
    it holds as points in time and clients send as text, as in 2026-11-30 or 2026-11-30T10:15:00.
    ``values`` are those that the model knows, for people who fill in a form; others are not refused
    for it. ``only`` holds, by position, the columns of which the model takes no other values than
    these; a missing value is another matter.
    """

    name: str = Field(min_length=1)
    datatype: Datatype
    shape: Shape
    allow_nan: bool = False
    allow_empty: bool = False
    missing: str | None = None
    features: tuple[str, ...] = ()
    categorical: bool = False
    date: bool = False
    values: tuple[Value, ...] = ()
    only: dict[int, tuple[Value, ...]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> InputTensor:
        width = self.shape[1] if len(self.shape) == MATRIX else 1
        for position, values in self.only.items():
            if not 0 <= position < width or not values:
                raise ValueError(f"only: {position} must be the position of a column, with values")
            if any(isinstance(value, str) is not (self.datatype == "BYTES") for value in values):
                raise ValueError(f"only: the values of column {position} must be {self.datatype}")
        if 0 in self.shape and not self.allow_empty:
            raise ValueError("dimensions are positive, or -1 where the size varies")
        if self.missing is not None and self.datatype != "BYTES":
            raise ValueError("missing is for BYTES only; a number that may be missing: allow_nan")
        return self

    def choices(self, position: int = 0) -> tuple[Value, ...]:
        """The values of a column that the model knows, where a person can choose among them."""
        values = self.only.get(position, self.values)
        return values if len(values) <= MOST_CHOICES else ()

    @property
    def spec(self) -> TensorSpec:
        """What requests are checked against."""
        names = self.features or (self.name,)
        known = tuple(
            KnownValues(names[position] if position < len(names) else self.name, position, values,
                        self.datatype)
            for position, values in self.only.items()
        )  # fmt: skip
        return TensorSpec(
            self.name,
            self.datatype,
            self.shape,
            self.allow_nan,
            self.allow_empty,
            self.missing,
            known,
        )


class OutputTensor(_Strict):
    """One output. ``labels`` names the classes that an integer output counts, those that a text
    output holds, or the columns of another one; ``exclusive`` says that these are probabilities of
    which the largest names the class of a row.

    ``method`` is the estimator's method behind the output of a joblib model, and ``target`` the
    position in the list that it answers where it has several targets.
    """

    name: str = Field(min_length=1)
    datatype: Datatype
    shape: Shape
    labels: tuple[str, ...] = ()
    exclusive: bool = False
    tolerance: Tolerance = Tolerance()
    method: Method | None = None
    target: int | None = Field(None, ge=0)


def tells_class(output: OutputTensor) -> bool:
    """Whether each row has one class with a name: a number or text that has it, or probabilities of
    which the largest does.
    """
    named = output.datatype == "BYTES" or output.datatype.startswith(("INT", "UINT"))
    return bool(output.labels) and (named or output.exclusive)


class Training(_Strict):
    """Where the model was made; ``packages`` holds the versions that made it.

    ``golden`` says who computed the golden outputs, ``run`` names the tracked run, and ``source``
    the file or program that the model comes from. ``batching`` is why requests share runs, or not.
    Of a joblib model, ``needs`` names the packages without which it cannot be loaded, beside those
    that every such model needs, and ``holds_code`` says whether the pickle holds more than data of
    known libraries; None, in packages of older versions: nobody looked.
    """

    python: str
    packages: dict[str, str]
    estimator: str = ""
    data: str = ""
    licence: str = ""
    source: str = ""
    golden: str = ""
    run: str = ""
    batching: str = ""
    needs: tuple[str, ...] = ()
    holds_code: bool | None = None


class Manifest(_Strict):
    """``model.yaml``. The first output is what ``/predict`` calls the prediction.

    ``independent_rows`` is what packaging found: whether each row of the outputs answers the same
    row of the inputs and depends on no other. None, in packages of older versions: nobody looked.
    ``batching`` says what that rests on: the shapes of the graph ("auto"), or the word of a person
    or a framework ("declared"); "never" runs each request alone, whatever was found. ``table`` is
    what a joblib model is called with: an array, or a pandas DataFrame whose columns are the
    inputs. ``code_file`` holds ``preprocess`` and ``postprocess``; see
    ``engine.serving.runtimes.hooks``. ``modules`` are modules of the owner's that the model needs,
    with the file of each; see ``engine.serving.runtimes.own_modules``. ``system`` are Debian
    packages that its libraries need; the image build installs them.
    """

    manifest_version: Literal[1]
    name: PlainName
    version: PlainName
    description: str = ""
    format: Literal["onnx", "joblib"]
    model_file: PlainName
    files: dict[FileName, FileEntry]
    inputs: tuple[InputTensor, ...] = Field(min_length=1)
    outputs: tuple[OutputTensor, ...] = Field(min_length=1)
    independent_rows: bool | None = None
    batching: Batching = "auto"
    table: TableForm = "array"
    code_file: PlainName | None = None
    modules: dict[ModuleName, FileName] = {}
    system: tuple[DebianName, ...] = ()
    training: Training

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for needed in (self.model_file, GOLDEN, self.code_file, *self.modules.values()):
            if needed is not None and needed not in self.files:
                raise ValueError(f"files must list {needed}")
        for kind in (self.inputs, self.outputs):
            names = [tensor.name for tensor in kind]
            if len(set(names)) != len(names):
                raise ValueError(f"tensor names must differ: {names}")
        if self.format == "joblib":
            for output in self.outputs:
                if output.method is None:
                    raise ValueError(f"output {output.name!r} of a joblib model needs a method")
        return self

    @property
    def rows_are_independent(self) -> bool:
        """Whether requests may share a run: found out, and by a graph only where nothing but the
        graph computes.
        """
        graph_only = self.format == "onnx" and self.code_file is None
        rests = self.batching == "declared" or (self.batching == "auto" and graph_only)
        return rests and self.independent_rows is True

    @cached_property
    def signature(self) -> Signature:
        """The part of the manifest that requests are checked against."""
        return Signature(
            inputs=tuple(each.spec for each in self.inputs),
            outputs=tuple(
                TensorSpec(each.name, each.datatype, each.shape, allow_nan=True)
                for each in self.outputs
            ),
            independent_rows=self.rows_are_independent,
            one_table=self.format == "joblib",
        )


def read_manifest(directory: Path) -> Manifest:
    """Read and check ``model.yaml`` of one package.

    Raises:
        PackageError: it is missing, is not YAML, or breaks a rule; every fault is named.
    """
    path = directory / MANIFEST
    try:
        text = path.read_bytes()
        if len(text) > MOST_BYTES:
            raise PackageError(f"{path}: has {len(text)} bytes; at most {MOST_BYTES} are read")
        content: Any = yaml.safe_load(text)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or lists in lists in lists.
        raise PackageError(f"{path}: cannot be read: {type(error).__name__}: {error}") from None
    except yaml.YAMLError as error:
        raise PackageError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PackageError(f"{path}: must be a mapping of keys to values")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'manifest'}: "
            f"{item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        raise PackageError(f"{path}: {faults}") from None
    if manifest.name != directory.name:
        raise PackageError(
            f"{path}: name is {manifest.name!r} and its folder is {directory.name!r}; "
            "they must be the same"
        )
    return manifest
