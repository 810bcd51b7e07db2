"""Train a tokenizer, make a network behind it, and answer texts with both in Python.

A program: `python text_models.py FOLDER KIND TEXTS` writes `tokenizer.json` and `model.onnx`, a
classifier or a network for sentences; TEXTS is a JSON list. It prints as JSON what is to be
answered, computed without ONNX, text by text and so without padding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from tests.engine.toy_models import text_network

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CORPUS = ["a good day for playing", "a bad day", "playful and lively play", "badly played today"]
WIDTH = 6


def main(folder: Path, kind: str, texts: list[str]) -> None:
    """Train, export and answer."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, WordPieceTrainer(vocab_size=80, special_tokens=SPECIAL))
    marks = [(each, tokenizer.token_to_id(each)) for each in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    random = np.random.default_rng(4)
    vectors = random.normal(size=(tokenizer.get_vocab_size(), WIDTH)).astype(np.float32)
    classes = random.normal(size=(WIDTH, 2)).astype(np.float32)
    model = text_network(vectors, classes if kind == "classifier" else None)
    onnx.save(model, folder / "model.onnx")
    mean = np.array([vectors[tokenizer.encode(text).ids].mean(axis=0) for text in texts])
    scores = np.exp(mean @ classes)
    answers = {
        "mean": mean.tolist(),
        "label": scores.argmax(axis=1).tolist(),
        "probabilities": (scores / scores.sum(axis=1, keepdims=True)).tolist(),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
