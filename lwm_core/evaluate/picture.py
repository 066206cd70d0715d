"""Pictures of evaluations: matplotlib on demand, and the curve of loss by position.

Owns nothing that measures. matplotlib is an optional extra; importing this file does not import it.
"""

from collections.abc import Mapping
from pathlib import Path

from lwm_core.evaluate.base import Evaluation


def need_figure() -> type:
    """matplotlib's `Figure`, which needs no display; raises `ImportError` saying what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("A picture needs matplotlib: pip install 'lwm-jax[demo]'.") from error
    return Figure


def draw_by_position(path: Path, panels: Mapping[str, Evaluation]) -> Path:
    """Perplexity over position, one line per panel; records {from, to, perplexity}."""
    figure = need_figure()(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, evaluation in panels.items():
        middle = [(record["from"] + record["to"]) / 2 for record in evaluation.records]
        axis.plot(middle, [record["perplexity"] for record in evaluation.records], marker="o", label=name)
    axis.set_xlabel("position in the context (tokens)")
    axis.set_ylabel("perplexity, held-out text")
    axis.legend()
    figure.savefig(path, dpi=150)
    return path
