"""Parquet files: pandas writes and reads them, in an environment that has pyarrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_parquet_file_is_answered_as_the_estimator_answers_its_table(
    program: Callable[..., str], tmp_path: Path
) -> None:
    assert "40,000 rows, 1 refused" in program("score_parquet.py", tmp_path)
