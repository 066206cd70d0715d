"""README's ten lines run as written, and do what their comments say."""

import os
import re
from pathlib import Path

import numpy as np


README = Path(__file__).parents[2] / "README.md"


def test_the_ten_lines_of_python(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S)
    statements = [line for line in code.splitlines() if line.strip() and not re.match(r"(from|import) ", line)]
    assert len(statements) <= 10
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert os.path.isdir("runs/first/checkpoints") and capsys.readouterr().out.strip("\n")
    trained, model = names["trained"], names["model"]
    assert type(trained.model.attention).__name__ == "RingAttention"
    assert type(model.attention).__name__ == "DenseAttention"
    np.testing.assert_array_equal(model.embed, trained.model.embed)
    assert names["pipeline"].modalities[0].name == "audio"
