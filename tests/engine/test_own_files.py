"""Files that a model's own code reads: `--file`, ``package_file``, a tokenizer in front of ONNX.

The expected answers are computed by numpy, from the weights and the tokens as the test knows them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from engine.packaging import own_files
from engine.packaging.options import Options
from engine.packaging.package import main, package
from engine.serving.errors import PackageError
from engine.serving.inference.model import load_model
from engine.serving.package.reader import read_package
from engine.serving.runtimes.own_files import package_file

from tests.engine.server import running
from tests.engine.test_packaging import CPU
from tests.engine.toy_models import text_network

pytestmark = pytest.mark.slow

WORDS = ["[PAD]", "[UNK]", "play", "##ing", "##ful", "good", "bad", "day"]
LABELS = ("calm", "lively")
# The tokens of each text, by hand.
TEXTS = {
    "good day": ["good", "day"],
    "playing": ["play", "##ing"],
    "Bad  playful tune": ["bad", "play", "##ful", "[UNK]"],
    "playing good playing": ["play", "##ing", "good", "play", "##ing"],
}
CODE = """
import json

import numpy as np

from engine.serving.runtimes.own_files import package_file

WORDS = json.loads(package_file("tokenizer.json").read_text())["model"]["vocab"]


def pieces(word):
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = [e for e in range(len(word), start, -1) if mark + word[start:e] in WORDS]
        if not ends:
            return [WORDS["[UNK]"]]
        found.append(WORDS[mark + word[start : ends[0]]])
        start = ends[0]
    return found


def preprocess(inputs):
    rows = [[i for word in text.lower().split() for i in pieces(word)] for text in inputs["text"]]
    width = max(map(len, rows))
    ids = [row + [WORDS["[PAD]"]] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64)}

"""
CLASSIFY = """
def postprocess(outputs):
    scores = outputs["logits"]
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {"label": scores.argmax(axis=1), "probabilities": parts / parts.sum(axis=1)[:, None]}
"""
EMBED = """
def postprocess(outputs, inputs):
    mask = inputs["attention_mask"][:, :, None].astype(np.float32)
    return {"embedding": (outputs["last_hidden_state"] * mask).sum(axis=1) / mask.sum(axis=1)}
"""


class World:
    """A folder with a tokenizer, two networks with the same weights, code and samples.

    Attributes:
        vectors: FP32[words, 3], of each word.
        classes: FP32[3, 2].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(3)
        self.vectors = random.normal(size=(len(WORDS), 3)).astype(np.float32)
        self.vectors[WORDS.index("bad")] *= -9
        self.classes = np.array([[1, -1], [1, -1], [-1, 1]], np.float32)
        vocabulary = {word: number for number, word in enumerate(WORDS)}
        tokenizer = {"version": "1.0", "model": {"type": "WordPiece", "vocab": vocabulary}}
        self.tokenizer = folder / "tokenizer.json"
        self.tokenizer.write_text(json.dumps(tokenizer))
        self.samples = folder / "texts.csv"
        self.samples.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
        (folder / "classify.py").write_text(CODE + CLASSIFY)
        (folder / "embed.py").write_text(CODE + EMBED)
        onnx.save(text_network(self.vectors, self.classes), folder / "classify.onnx")
        onnx.save(text_network(self.vectors, None), folder / "embed.onnx")

    def embedding(self, text: str) -> np.ndarray[Any, Any]:
        """FP32[3]: the mean of the vectors of its words."""
        mean: np.ndarray[Any, Any] = np.mean(
            [self.vectors[WORDS.index(word)] for word in TEXTS[text]], axis=0
        )
        return mean

    def packaged(self, network: str, models: Path, *files: Path, **more: Any) -> Path:
        """Package one of the two."""
        code = self.folder / f"{network}.py"
        options = Options(samples=self.samples, code=code, files=files, **more)
        return package(str(self.folder / f"{network}.onnx"), options, models)[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """See ``World``."""
    return World(tmp_path_factory.mktemp("world"))


def test_text_in_and_labels_out(world: World, tmp_path: Path) -> None:
    models = tmp_path / "models"
    arguments = [world.folder / "classify.onnx", "--samples", world.samples, "--labels"]
    arguments += [",".join(LABELS), "--code", world.folder / "classify.py", "--file"]
    assert main([*map(str, arguments), str(world.tokenizer), "--models-dir", str(models)]) == 0
    with running(models) as server:
        rows = [{"text": text} for text in TEXTS]
        answer = httpx.post(f"{server.url}/predict", json={"data": rows})
    scores = np.array([world.embedding(text) for text in TEXTS]) @ world.classes
    expected = scores.argmax(axis=1)
    assert set(expected) == {0, 1}
    assert answer.json()["predictions"] == expected.tolist()
    assert answer.json()["labels"] == [LABELS[each] for each in expected]
    parts = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer.json()["outputs"]["probabilities"], parts, rtol=1e-5)


def test_a_sentence_is_the_mean_of_its_words_and_not_of_the_padding(
    world: World, tmp_path: Path
) -> None:
    folder = world.packaged("embed", tmp_path, world.tokenizer, batching="declared")
    model = load_model(read_package(folder), CPU)
    assert model.signature.batched
    texts = np.array(list(TEXTS), dtype=object)
    expected = [world.embedding(text) for text in TEXTS]
    np.testing.assert_allclose(model.run({"text": texts})["embedding"], expected, rtol=1e-5)


def test_each_package_reads_its_own_and_a_changed_file_refuses_the_start(
    world: World, tmp_path: Path
) -> None:
    first = world.packaged("embed", tmp_path, world.tokenizer)
    other = tmp_path / "other" / world.tokenizer.name
    other.parent.mkdir()
    other.write_text(world.tokenizer.read_text().replace('"good"', '"bad "').replace("bad ", "fad"))
    second = world.packaged("embed", tmp_path, other, name="second")
    text = {"text": np.array(["good"], dtype=object)}
    answers = [load_model(read_package(each), CPU).run(text) for each in (first, second, first)]
    assert answers[0]["embedding"].tolist() == answers[2]["embedding"].tolist()
    np.testing.assert_allclose(answers[1]["embedding"][0], world.vectors[WORDS.index("[UNK]")])
    (first / other.name).write_text(world.tokenizer.read_text().replace("good", "goob"))
    with pytest.raises(PackageError, match=r"tokenizer\.json: its sha256 .* the file was altered"):
        read_package(first)
    (first / other.name).unlink()
    with pytest.raises(PackageError, match=r"tokenizer\.json: cannot be read: No such file"):
        read_package(first)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.json", "cannot be read: No such file"),
        ("folder", "is not a file; give each file of a folder"),
        ("a b.txt", "its name must have letters, digits"),
        (".hidden", "its name must have letters, digits"),
        ("large.bin", "has 2147483649 bytes, and a package takes files up to 2147483648"),
        ("model_code.py", "the package has another file of this name; rename one"),
        ("Model.ONNX", "the package has another file of this name; rename one"),
        ("model.yaml", "the package has another file of this name; rename one"),
        ("/dev/zero", "is not a file; give each file of a folder"),
    ],
)
def test_what_cannot_be_a_file_of_a_package_is_refused(
    world: World, tmp_path: Path, name: str, words: str
) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "large.bin":
        with path.open("wb") as file:
            file.truncate(2**31 + 1)
    elif name != "absent.json" and path.parent == tmp_path:
        path.write_text("x")
    with pytest.raises(PackageError, match=f"^--file {path}: {words}") as error:
        world.packaged("embed", tmp_path / "models", path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_names_and_numbers_are_bounded(world: World, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(own_files.MOST_FILES + 1)]
    for path in paths:
        path.write_text("x")
    with pytest.raises(PackageError, match=r"--file \S+100\.txt: is one more than the 100 files"):
        world.packaged("embed", tmp_path / "models", *paths)
    with pytest.raises(PackageError, match="the package has another file of this name"):
        world.packaged("embed", tmp_path / "models", world.tokenizer, world.tokenizer)


def test_a_file_that_is_not_given_is_asked_for_by_its_option(world: World, tmp_path: Path) -> None:
    with pytest.raises(
        PackageError, match=r"^\S+embed\.py: package_file\('tokenizer\.json'\): the package has no"
    ) as error:
        world.packaged("embed", tmp_path)
    assert "package the model with --file tokenizer.json" in str(error.value)
    options = Options(samples=world.samples, files=(world.tokenizer,))
    with pytest.raises(PackageError, match=r"only code of the model's own reads files; give that"):
        package(str(world.folder / "embed.onnx"), options, tmp_path)


def test_a_request_reads_no_file(world: World, tmp_path: Path) -> None:
    code = (world.folder / "embed.py").read_text()
    late = world.folder / "late.py"
    late.write_text(code.replace("def preprocess(inputs):", "def preprocess(inputs):\n    "
                                 'package_file("tokenizer.json")'))  # fmt: skip
    (world.folder / "late.onnx").write_bytes((world.folder / "embed.onnx").read_bytes())
    with pytest.raises(PackageError, match=r"call it at the top of model_code\.py, and keep"):
        world.packaged("late", tmp_path, world.tokenizer)
    with pytest.raises(PackageError, match="in a function or outside a package"):
        package_file("tokenizer.json")
