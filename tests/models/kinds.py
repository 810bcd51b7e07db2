"""Train a model of each kind that people have, package it, and write down what its library answers.

A program: `python kinds.py OUTPUT [NAME...]`. Where no name is given: all kinds but PyTorch, which
needs another environment. It writes the packages to `OUTPUT/models`, and `OUTPUT/kinds.json`: for
each kind its title, for each form of the package the refusal or nothing, the rows to ask, and the
answers. The rows that are asked are no samples of the packages.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.packaging.record import record
from engine.serving.errors import StartupError
from onnx import TensorProto, helper, numpy_helper
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    gaussian_process,
    impute,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

SEED = 11
ROWS, TRAINED, SAMPLED = 150, 110, 128
FLOAT, HALF, TEXT, WHOLE = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.STRING, TensorProto.INT64
)  # fmt: skip
random = np.random.default_rng(SEED)
# Numbers that float32 holds exactly, so that both forms of a package are asked the same.
X = random.normal(size=(ROWS, 4)).astype(np.float32).astype(np.float64)
CLASS = np.array(["low", "middle", "high"])[X[:, :3].argmax(axis=1)]
NUMBER = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.1 * random.normal(size=ROWS)
FLAGS = (X[:, :3] > 0).astype(int)
WORDS = np.array(["good", "fine", "bad", "sad", "day", "night", "food", "place"])
LINES = np.array([" ".join(random.choice(WORDS, 4)) for _ in range(ROWS)], dtype=object)
MOOD = np.array([int("good" in line or "fine" in line) for line in LINES])
PEOPLE = pd.DataFrame(
    {
        "age": X[:, 0] * 8 + 40,
        "fare": np.abs(X[:, 1]) * 30,
        "children": np.arange(ROWS) % 4,
        "port": np.array(["Cherbourg", "Queenstown", "Southampton"])[np.arange(ROWS) * 7 % 3],
    }
)
PEOPLE[["age", "fare"]] = PEOPLE[["age", "fare"]].astype(np.float32).astype(np.float64)
LIVED = np.where((PEOPLE.fare > 20) ^ (PEOPLE.port == "Queenstown"), "yes", "no")

OWN_STEPS = """
from sklearn.base import BaseEstimator, TransformerMixin


class Ratio(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.assign(ratio=X["fare"] / (1 + X["children"]))[["age", "ratio"]]
"""
TOKENIZER = """
import numpy as np

VOCABULARY = {word: number for number, word in enumerate(
    ["good", "fine", "bad", "sad", "day", "night", "food", "place"])}


def preprocess(inputs):
    ids = np.zeros((len(inputs["text"]), 8), np.float32)
    for row, text in enumerate(inputs["text"]):
        for word in text.split():
            ids[row, VOCABULARY[word]] += 1
    return {"x": ids}
"""


@dataclass(frozen=True)
class Made:
    """A model as it is stored, options of its packaging, the rows to ask and what is answered.

    ``asked`` is a DataFrame, a list of texts, or arrays by input. ``to`` are the forms to try.
    """

    source: Path
    options: Options
    asked: Any
    answers: list[Any] = field(default_factory=list)
    to: tuple[str, ...] = ("as-is", "onnx")


Make = Callable[[Path], Made]
KINDS: dict[str, tuple[str, Make]] = {}


def kind(title: str) -> Callable[[Make], Make]:
    """Note a kind of model under the name of the function that makes one."""

    def note(make: Make) -> Make:
        KINDS[make.__name__.replace("_", "-")] = title, make
        return make

    return note


def estimator(title: str, name: str, model: Any, target: Any = None, **more: Any) -> None:
    """Note a kind whose estimator is trained on an array of numbers, or on ``inputs``."""

    def make(folder: Path) -> Made:
        inputs = more.get("inputs", X)
        fitted = model.fit(inputs[:TRAINED], None if target is None else target[:TRAINED])
        return stored(folder, name, fitted, inputs, more.get("form", "npz"))

    KINDS[name] = title, make


def stored(folder: Path, name: str, model: Any, inputs: Any, form: str, **options: Any) -> Made:
    """A pickled model, with samples in one of the forms that people have."""
    path, samples = folder / f"{name}.joblib", folder / f"{name}.{form}"
    joblib.dump(model, path)
    some = inputs[TRAINED:SAMPLED]
    if form == "npz":
        np.savez(samples, X=some.astype(np.str_) if some.dtype == object else some)
    elif form == "json":
        record(model, some, samples)
    else:
        some.to_csv(samples, index=False) if form == "csv" else some.to_parquet(samples)
    asked = inputs[SAMPLED:]
    return Made(path, Options(samples=samples, **options), asked, answers_of(model, asked))


def answers_of(model: Any, asked: Any) -> list[Any]:
    """What the library answers, called as it was trained."""
    if not hasattr(model, "predict"):
        return [model.transform(asked)]
    answers = [model.predict(asked)]
    for method in ("predict_proba", "decision_function"):
        if hasattr(model, method) and len(answers) == 1:
            more = getattr(model, method)(asked)
            answers += more if isinstance(more, list) else [more]
    return answers


linear = linear_model.LogisticRegression
forest = ensemble.RandomForestClassifier(8, max_depth=4, random_state=SEED)
estimator("linear regression", "linear", linear_model.LinearRegression(), NUMBER)
estimator("logistic regression, text classes", "logistic", linear(), CLASS)
estimator("decision tree", "tree", tree.DecisionTreeClassifier(max_depth=4), CLASS)
estimator("random forest", "forest", forest, CLASS)
estimator("random forest, numbers", "forest-numbers",
          ensemble.RandomForestRegressor(8, random_state=SEED), NUMBER)  # fmt: skip
estimator("extra trees, numbers", "extra", ensemble.ExtraTreesRegressor(8, max_depth=4), NUMBER)
estimator("AdaBoost", "adaboost", ensemble.AdaBoostClassifier(n_estimators=5), CLASS)
estimator(
    "gradient boosting", "gradient", ensemble.GradientBoostingClassifier(n_estimators=5), CLASS
)
estimator("gradient boosting, numbers", "gradient-numbers",
          ensemble.GradientBoostingRegressor(n_estimators=5), NUMBER)  # fmt: skip
estimator("histogram gradient boosting", "histogram",
          ensemble.HistGradientBoostingClassifier(max_iter=5), CLASS)  # fmt: skip
estimator("support vectors", "svc", svm.SVC(), CLASS)
two_classes = pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC())
estimator("support vectors, two classes", "two-classes", two_classes, FLAGS[:, 0])
estimator("linear support vectors", "linear-svc", svm.LinearSVC(), CLASS)
estimator("support vectors, numbers", "svr", svm.SVR(), NUMBER)
estimator("nearest neighbours", "neighbours", neighbors.KNeighborsClassifier(4), CLASS)
estimator("naive Bayes", "bayes", naive_bayes.GaussianNB(), CLASS)
estimator(
    "Gaussian process", "process", gaussian_process.GaussianProcessRegressor(alpha=0.1), NUMBER
)
estimator("neural network (MLP)", "mlp",
          neural_network.MLPClassifier((8,), max_iter=300, random_state=SEED), CLASS)  # fmt: skip
estimator("clusters (k-means)", "clusters", cluster.KMeans(3, n_init=2, random_state=SEED))
estimator("outliers (isolation forest)", "outliers",
          ensemble.IsolationForest(n_estimators=10, random_state=SEED))  # fmt: skip
estimator("outliers (local factor)", "factor", neighbors.LocalOutlierFactor(novelty=True))
estimator("PCA", "pca", decomposition.PCA(2))
estimator("scaling", "scaler", preprocessing.StandardScaler())
estimator("scaling to a range", "range", preprocessing.MinMaxScaler())
steps = preprocessing.StandardScaler(), decomposition.PCA(3), linear()
estimator("scaling, PCA and a classifier", "pca-pipeline", pipeline.make_pipeline(*steps), CLASS)
estimator("polynomials", "polynomials", preprocessing.PolynomialFeatures(2))
estimator("calibrated", "calibrated",
          calibration.CalibratedClassifierCV(linear(), cv=2), CLASS)  # fmt: skip
pair: list[Any] = [("a", linear()), ("b", naive_bayes.GaussianNB())]
estimator("stacked", "stacked", ensemble.StackingClassifier(pair, linear(), cv=2), CLASS)
estimator("voting", "voting", ensemble.VotingClassifier(pair, voting="soft"), CLASS)
estimator("voting by majority", "majority", ensemble.VotingClassifier(pair), CLASS)
estimator("bagged", "bagged",
          ensemble.BaggingClassifier(linear(), 4, random_state=SEED), CLASS)  # fmt: skip
estimator("grid search", "search",
          model_selection.GridSearchCV(linear(), {"C": [1.0, 9.0]}, cv=2), CLASS)  # fmt: skip
early = model_selection.FixedThresholdClassifier(linear(), threshold=0.3)
estimator("a threshold of its own", "threshold", early, FLAGS[:, 0])
scaled = preprocessing.StandardScaler()
estimator("scaled target", "target",
          compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=scaled),
          NUMBER)  # fmt: skip
estimator("several targets", "targets", multioutput.MultiOutputClassifier(linear()), FLAGS)
estimator("several targets, forest", "targets-forest",
          ensemble.RandomForestClassifier(5, random_state=SEED), FLAGS)  # fmt: skip
estimator("several numbers", "numbers", linear_model.Ridge(), np.stack([NUMBER, X[:, 0]], 1))
estimator("several labels (one against the rest)", "labels",
          multiclass.OneVsRestClassifier(linear()), FLAGS)  # fmt: skip
one_each = multiclass.OneVsOneClassifier(linear())
estimator("one against one", "one-each", one_each, X[:, :3].argmax(axis=1))
estimator("one against one, text classes", "one-each-text", one_each, CLASS)
estimator("chain of classifiers", "chain",
          multioutput.ClassifierChain(linear(), random_state=SEED), FLAGS)  # fmt: skip
words = feature_extraction.text
for title, called, vectorizer in (
    ("text, counts", "counts", words.CountVectorizer()),
    ("text, tf-idf", "tf-idf", words.TfidfVectorizer()),
    ("text, hashing", "hashing", words.HashingVectorizer(n_features=64)),
):
    estimator(title, called, pipeline.make_pipeline(vectorizer, linear()), MOOD, inputs=LINES)


def columns(numbers: list[Any], texts: list[Any], *before: Any) -> Any:
    """A pipeline that scales numbers and encodes texts."""
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore")
    steps = compose.make_column_transformer(
        (pipeline.make_pipeline(*before, preprocessing.StandardScaler()), numbers),
        (encoder, texts),
    )
    return pipeline.make_pipeline(steps, linear(C=9.0))


def without(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with every fourth value of a column missing."""
    changed = frame.copy()
    changed.loc[changed.index % 4 == 0, name] = np.nan
    return changed


by_name = columns(["age", "fare", "children"], ["port"])
estimator("columns by name", "by-name", by_name, LIVED, inputs=PEOPLE, form="csv")
estimator("columns by position", "by-position", columns([0, 1, 2], [3]), LIVED,
          inputs=PEOPLE, form="csv")  # fmt: skip
estimator("named columns of numbers", "frame", forest, LIVED, inputs=PEOPLE[["age", "fare"]],
          form="csv")  # fmt: skip
estimator("missing numbers", "gaps", columns(["age", "fare"], ["port"], impute.SimpleImputer()),
          LIVED, inputs=without(PEOPLE, "age"), form="json")  # fmt: skip
estimator("missing texts", "text-gaps", columns(["age", "fare"], ["port"]), LIVED,
          inputs=without(PEOPLE, "port"), form="csv")  # fmt: skip
fill = impute.SimpleImputer(strategy="constant", fill_value="unknown")
encoder = pipeline.make_pipeline(fill, preprocessing.OneHotEncoder(handle_unknown="ignore"))
filled = compose.make_column_transformer((preprocessing.StandardScaler(), ["age"]),
                                         (encoder, ["port"]))  # fmt: skip
estimator("missing texts, filled in", "filled", pipeline.make_pipeline(filled, linear()), LIVED,
          inputs=without(PEOPLE, "port")[["age", "port"]], form="csv")  # fmt: skip
strict = compose.make_column_transformer((preprocessing.OneHotEncoder(), ["port"]),
                                         ("passthrough", ["age"]))  # fmt: skip
estimator("an encoder that refuses other values", "strict",
          pipeline.make_pipeline(strict, linear()), LIVED, inputs=PEOPLE[["age", "port"]],
          form="csv")  # fmt: skip
codes = PEOPLE.assign(port=np.array(["01067", "02826", "80331"])[np.arange(ROWS) % 3])
estimator("digits as text", "codes", columns(["age"], ["port"]), LIVED, inputs=codes, form="csv")
members = PEOPLE.assign(member=PEOPLE.fare > 20)[["member", "port"]]
encode = preprocessing.OneHotEncoder(handle_unknown="ignore")
estimator("booleans", "booleans", pipeline.make_pipeline(encode, linear()), LIVED, inputs=members,
          form="csv")  # fmt: skip
grouped = PEOPLE.assign(port=PEOPLE.port.astype("category"))[["port", "age"]]
boosting = ensemble.HistGradientBoostingClassifier(max_iter=5)
estimator("categories of pandas", "categories", boosting, LIVED, inputs=grouped, form="csv")
days = pd.DataFrame({"day": pd.to_datetime(["2026-01-31", "2026-02-28"] * 75), "n": X[:, 0]})
estimator("dates", "dates",
          pipeline.make_pipeline(preprocessing.OneHotEncoder(handle_unknown="ignore"), linear()),
          LIVED, inputs=days[["day"]].assign(port=PEOPLE.port), form="parquet")  # fmt: skip


@kind("own step in a module (--module)")
def module(folder: Path) -> Made:
    file = folder / "own_steps.py"
    file.write_text(OWN_STEPS)
    sys.path.insert(0, str(folder))
    import own_steps  # type: ignore[import-not-found]

    model = pipeline.make_pipeline(own_steps.Ratio(), linear()).fit(
        PEOPLE[:TRAINED], LIVED[:TRAINED]
    )
    return stored(folder, "module", model, PEOPLE, "json", modules=(file,))


class Half(preprocessing.FunctionTransformer):  # type: ignore[misc]
    """A step of a notebook: its module is the program."""

    def transform(self, X: Any) -> Any:
        """Half of each number."""
        return X / 2


@kind("own step in the pickle (cloudpickle)")
def cloudpickled(folder: Path) -> Made:
    import cloudpickle  # type: ignore[import-not-found]

    model = pipeline.make_pipeline(Half(), linear()).fit(X[:TRAINED], CLASS[:TRAINED])
    made = stored(folder, "cloudpickled", model, X, "npz")
    made.source.write_bytes(cloudpickle.dumps(model))
    return made


@kind("LightGBM")
def lightgbm(folder: Path) -> Made:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=5, verbose=-1).fit(grouped[:TRAINED], LIVED[:TRAINED])
    return stored(folder, "lightgbm", model, grouped, "csv")


@kind("XGBoost")
def xgboost(folder: Path) -> Made:
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=5, enable_categorical=True)
    model.fit(grouped[:TRAINED], (LIVED == "yes")[:TRAINED].astype(int))
    return stored(folder, "xgboost", model, grouped, "csv")


@kind("CatBoost")
def catboost(folder: Path) -> Made:
    return stored(folder, "catboost", _catboost(), X, "npz")


def _catboost() -> Any:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
    return model.fit(X[:TRAINED], CLASS[:TRAINED])


@kind("CatBoost's own ONNX, which has maps")
def catboost_maps(folder: Path) -> Made:
    path, model = folder / "catboost-maps.onnx", _catboost()
    model.save_model(str(path), format="onnx")
    answers = [model.predict(X[SAMPLED:]).reshape(-1), model.predict_proba(X[SAMPLED:])]
    return exported(folder, path, "features", X, answers)


@kind("statsmodels, arrays")
def statsmodels(folder: Path) -> Made:
    from statsmodels.regression.linear_model import OLS

    return stored(folder, "statsmodels", OLS(NUMBER[:TRAINED], X[:TRAINED]).fit(), X, "npz")


@kind("statsmodels, formula")
def formula(folder: Path) -> Made:
    from statsmodels.formula.api import ols

    model = ols("fare ~ age + C(port)", PEOPLE[:TRAINED]).fit()
    return stored(folder, "formula", model, PEOPLE[["age", "port"]], "csv")


@kind("MLflow, scikit-learn")
def mlflow_sklearn(folder: Path) -> Made:
    import mlflow.sklearn

    model = linear().fit(PEOPLE[["age", "fare"]][:TRAINED], LIVED[:TRAINED])
    example = PEOPLE[["age", "fare"]]
    mlflow.sklearn.save_model(
        model,
        folder / "mlflow-sklearn",
        input_example=example[TRAINED:SAMPLED],
        pip_requirements=[],
    )
    asked = example[SAMPLED:]
    return Made(folder / "mlflow-sklearn", Options(), asked, answers_of(model, asked))


@kind("MLflow, ONNX")
def mlflow_onnx(folder: Path) -> Made:
    import mlflow.onnx

    made = maps(folder)
    model = onnx.load(made.source)
    mlflow.onnx.save_model(model, folder / "mlflow-onnx", pip_requirements=[])
    return replace(made, source=folder / "mlflow-onnx")


@kind("MLflow, another flavour")
def mlflow_pyfunc(folder: Path) -> Made:
    import mlflow.pyfunc

    class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return [1] * len(model_input)

    mlflow.pyfunc.save_model(folder / "mlflow-pyfunc", python_model=Constant(), pip_requirements=[])
    return Made(folder / "mlflow-pyfunc", Options(), X[SAMPLED:], to=("as-is",))


def _network() -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(3, activation="softmax", name="class")]
    network = keras.Sequential(layers)
    network.compile("adam", "sparse_categorical_crossentropy")
    return network


@kind("Keras, labels given (--labels)")
def keras(folder: Path) -> Made:
    network, path, samples = _network(), folder / "keras.keras", folder / "keras.json"
    network.save(path)
    record(network, X[TRAINED:SAMPLED].astype(np.float32), samples)
    options = Options(samples=samples, labels=("low", "middle", "high"))
    answers = [network.predict(X[SAMPLED:], verbose=0)]
    return Made(path, options, X[SAMPLED:], answers, to=("as-is",))


@kind("MLflow, Keras")
def mlflow_keras(folder: Path) -> Made:
    import mlflow.keras

    network = _network()
    mlflow.keras.save_model(network, str(folder / "mlflow-keras"), pip_requirements=[])
    samples = folder / "mlflow-keras.json"
    record(network, X[TRAINED:SAMPLED].astype(np.float32), samples)
    answers = [network.predict(X[SAMPLED:], verbose=0)]
    return Made(
        folder / "mlflow-keras", Options(samples=samples), X[SAMPLED:], answers, to=("as-is",)
    )


def exported(
    folder: Path, path: Path, name: str, inputs: Any, answers: list[Any], **options: Any
) -> Made:
    """An ONNX file with one input, which is asked under its name."""
    samples = folder / f"{path.stem}.npz"
    single = inputs.astype(np.float32) if inputs.dtype == np.float64 else inputs
    some = single[TRAINED:SAMPLED]
    np.savez(samples, **{f"input/{name}": some.astype(np.str_) if some.dtype == object else some})
    asked = {name: single[SAMPLED:]}
    return Made(path, Options(samples=samples, **options), asked, answers, to=("as-is",))


def graph(
    path: Path, nodes: list[Any], given: tuple[str, int, list[Any]], result: Any, **more: Any
) -> Path:
    """Write an ONNX file."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    built = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*given), *more.get("inputs", [])],
        [result if not isinstance(result, tuple) else helper.make_tensor_value_info(*result)],
        [numpy_helper.from_array(value, name) for name, value in more.get("weights", {}).items()],
    )
    model = helper.make_model(built, opset_imports=opsets, ir_version=more.get("ir", 10))
    beside = {"save_as_external_data": True, "location": f"{path.stem}.bin", "size_threshold": 0}
    onnx.save(model, path, **(beside if more.get("beside") else {}))
    return path


WEIGHTS = random.normal(size=(4, 2)).astype(np.float32)
PRODUCT = [helper.make_node("MatMul", ["x", "w"], ["y"])]
TABLE, RESULT = ("x", FLOAT, ["rows", 4]), ("y", FLOAT, ["rows", 2])
SINGLE = X.astype(np.float32)


@kind("ONNX with maps (the default of skl2onnx)")
def maps(folder: Path) -> Made:
    from skl2onnx import to_onnx

    model, path = linear().fit(X[:TRAINED], CLASS[:TRAINED]), folder / "maps.onnx"
    onnx.save(to_onnx(model, SINGLE[:1]), path)
    return exported(folder, path, "X", X, answers_of(model, X[SAMPLED:]))


@kind("ONNX, weights in a file beside it")
def beside(folder: Path) -> Made:
    path = graph(
        folder / "beside.onnx", PRODUCT, TABLE, RESULT, weights={"w": WEIGHTS}, beside=True
    )
    return exported(folder, path, "x", X, [SINGLE[SAMPLED:] @ WEIGHTS])


@kind("ONNX, newer version of the format")
def newer(folder: Path) -> Made:
    path = graph(folder / "newer.onnx", PRODUCT, TABLE, RESULT, weights={"w": WEIGHTS}, ir=14)
    return exported(folder, path, "x", X, [SINGLE[SAMPLED:] @ WEIGHTS])


@kind("ONNX, float16")
def float16(folder: Path) -> Made:
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"])]
    path = graph(folder / "float16.onnx", nodes, ("x", HALF, ["rows", 4]), ("y", HALF, ["rows", 4]))
    half = X.astype(np.float16)
    return exported(folder, path, "x", half, [half[SAMPLED:] * half[SAMPLED:]])


@kind("ONNX, int8 (dynamic quantisation)")
def int8(folder: Path) -> Made:
    import onnxruntime as ort  # type: ignore[import-not-found]
    from onnxruntime.quantization import quantize_dynamic  # type: ignore[import-not-found]

    plain = graph(folder / "plain.onnx", PRODUCT, TABLE, RESULT, weights={"w": WEIGHTS})
    path = folder / "int8.onnx"
    quantize_dynamic(plain, path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return exported(folder, path, "x", X, session.run(None, {"x": SINGLE[SAMPLED:]}))


@kind("ONNX, text in and out")
def strings(folder: Path) -> Made:
    names = {"keys_strings": ["a", "b"], "values_strings": ["first", "second"]}
    nodes = [helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **names)]
    path = graph(folder / "strings.onnx", nodes, ("x", TEXT, ["rows"]), ("y", TEXT, ["rows"]))
    texts = np.array(["a", "b"], dtype=object)[np.arange(ROWS) % 2]
    answers = np.where(texts == "a", "first", "second")
    return exported(folder, path, "x", texts, [answers[SAMPLED:]])


@kind("ONNX, any number of detections")
def detections(folder: Path) -> Made:
    nodes = [
        helper.make_node("Greater", ["x", "limit"], ["over"]),
        helper.make_node("NonZero", ["over"], ["where"]),
        helper.make_node("Transpose", ["where"], ["y"]),
    ]
    path = graph(folder / "detections.onnx", nodes, TABLE, ("y", WHOLE, ["found", 2]),
                 weights={"limit": np.float32(1)})  # fmt: skip
    return exported(folder, path, "x", X, [np.argwhere(SINGLE[SAMPLED:] > 1)])


@kind("ONNX, sequences of any length")
def lengths(folder: Path) -> Made:
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)]
    path = graph(folder / "lengths.onnx", nodes, ("x", FLOAT, ["rows", "steps", 2]), RESULT,
                 weights={"axes": np.array([1])})  # fmt: skip
    steps = SINGLE.reshape(ROWS, 2, 2)
    return exported(folder, path, "x", steps, [steps[SAMPLED:].mean(axis=1)])


@kind("ONNX, a list of tensors of varying number")
def sequences(folder: Path) -> Made:
    nodes = [helper.make_node("SplitToSequence", ["x"], ["y"])]
    result = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    path = graph(folder / "sequences.onnx", nodes, TABLE, result)
    return exported(folder, path, "x", X, [])


@kind("ONNX, dropout in training mode")
def dropout(folder: Path) -> Made:
    nodes = [helper.make_node("Dropout", ["x", "ratio", "on"], ["y"])]
    path = graph(folder / "dropout.onnx", nodes, TABLE, ("y", FLOAT, ["rows", 4]),
                 weights={"ratio": np.float32(0.5), "on": np.array(True)})  # fmt: skip
    return exported(folder, path, "x", X, [])


@kind("ONNX, names with / and :")
def slashes(folder: Path) -> Made:
    nodes = [helper.make_node("Neg", ["input/x:0"], ["output/y:0"])]
    given, result = ("input/x:0", FLOAT, ["rows", 4]), ("output/y:0", FLOAT, ["rows", 4])
    path = graph(folder / "slashes.onnx", nodes, given, result)
    made = exported(folder, path, "input/x:0", X, [-SINGLE[SAMPLED:]])
    own = folder / "slashes-own.npz"
    some = SINGLE[TRAINED:SAMPLED]
    arrays: dict[str, Any] = {"input/x:0": some, "output/y:0": -some}
    np.savez(own, **arrays)
    return replace(made, options=Options(samples=own))


@kind("ONNX with a tokenizer in code (--code)")
def tokenizer(folder: Path) -> Made:
    code = folder / "tokenizer_code.py"
    code.write_text(TOKENIZER)
    weights = random.normal(size=(8, 2)).astype(np.float32)
    path = graph(folder / "tokenizer.onnx", PRODUCT, ("x", FLOAT, ["rows", 8]), RESULT,
                 weights={"w": weights})  # fmt: skip
    counts = np.array([[line.split().count(word) for word in WORDS] for line in LINES], np.float32)
    return exported(folder, path, "text", LINES, [counts[SAMPLED:] @ weights], code=code)


@kind("PyTorch, exported")
def pytorch(folder: Path) -> Made:
    import torch  # type: ignore[import-not-found]

    torch.manual_seed(SEED)
    layers = torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
    network, path = (
        torch.nn.Sequential(*layers, torch.nn.Softmax(1)).eval(),
        folder / "pytorch.onnx",
    )
    varies = {"x": {0: "rows"}, "y": {0: "rows"}}
    torch.onnx.export(network, (torch.from_numpy(SINGLE[:8]),), path, input_names=["x"],
                      output_names=["y"], dynamic_axes=varies, dynamo=False)  # fmt: skip
    with torch.no_grad():
        answers = [network(torch.from_numpy(SINGLE[SAMPLED:])).numpy()]
    return exported(folder, path, "x", X, answers)


def asked_of(made: Made) -> dict[str, Any]:
    """Rows as JSON: records, or what an array holds; dates as text, null where one is missing."""
    asked = made.asked
    if isinstance(asked, pd.DataFrame):
        plain = {n: asked[n].dt.strftime("%Y-%m-%d") if asked[n].dtype.kind == "M" else asked[n]
                 for n in asked}  # fmt: skip
        text = pd.DataFrame(plain).to_json(orient="records", double_precision=15)
        return {"records": json.loads(text)}
    if isinstance(asked, dict):
        return {"inputs": {name: array.tolist() for name, array in asked.items()}}
    return {"rows": asked.tolist()}


def run(folder: Path, name: str) -> dict[str, Any]:
    """Make a kind, package it in each form, and describe what came of it."""
    title, make = KINDS[name]
    made = make(folder)
    forms: dict[str, str] = {}
    for to in made.to:
        called = name if to == "as-is" else f"{name}-onnx"
        options = replace(made.options, name=called, to=to, licence="made here")
        try:
            package(str(made.source), options, folder / "models")
            forms[to] = ""
        except StartupError as error:
            forms[to] = str(error).replace(f"{folder}/", "")
    answers = [np.asarray(each.toarray() if hasattr(each, "toarray") else each).tolist()
               for each in made.answers]  # fmt: skip
    return {"title": title, "forms": forms, "answers": answers, **asked_of(made)}


def main() -> None:
    """All kinds, or those that are named."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    rows: dict[str, Any] = {}
    for name in sys.argv[2:] or [name for name in KINDS if name != "pytorch"]:
        try:
            rows[name] = run(folder, name)
        except Exception:  # noqa: BLE001 - one kind that breaks must not hide the others
            rows[name] = {"title": KINDS[name][0], "fault": traceback.format_exc()}
        print(name, rows[name].get("forms", rows[name].get("fault")), flush=True)
        (folder / "kinds.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
