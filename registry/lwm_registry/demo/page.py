"""The report as one HTML file: everything a person wants to see, pictures inside, nothing fetched.

Owns the page. Every number on it comes from the report that it is given.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any


CREDITS = (
    "Text: Moby-Dick, Herman Melville, public domain. Film frames: Big Buck Bunny, (c) 2008 Blender Foundation, "
    "CC-BY 3.0; cut, scaled and encoded again, and generated from by the model."
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 } td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd }
td { text-align: right } td:first-child, th:first-child { text-align: left } img { max-width: 100% }
blockquote { border-left: 3px solid #bbb; margin: .5rem 0; padding: .2rem 1rem; background: #f7f7f7 }
figure { display: inline-block; margin: .5rem 1rem .5rem 0 } figcaption { color: #555; font-size: .85rem }
"""


def write(path: Path, report: Mapping[str, Any], drawn: Mapping[str, Path]) -> None:
    """Writes the page; `drawn` is title → picture."""
    parts = [
        "<h1>Demo report</h1>",
        _summary(report),
        "<h2>Stages</h2>",
        _stages(report["stages"]),
        *(f"<h2>{escape(title)}</h2>{_picture(file, '')}" for title, file in drawn.items()),
        *(f"<h2>{escape(name.capitalize())}, in numbers</h2>{_records(r)}" for name, r in report["measured"].items()),
        "<h2>Needle, cell by cell</h2>",
        _needle(report),
        "<h2>A continuation</h2>",
        f"<blockquote><b>{escape(report['continuation']['prompt'])}</b>"
        f"{escape(report['continuation']['text'])}</blockquote>",
        "<h2>A picture and a clip</h2>",
        *(_made(path.parent, report[name], name) for name in ("image", "clip")),
        "<h2>Machine</h2>",
        f"<pre>{escape(_lines(report['machine']))}</pre>",
        f"<p><small>{escape(CREDITS)}</small></p>",
    ]
    head = f"<!doctype html><meta charset='utf-8'><title>Demo report</title><style>{STYLE}</style>"
    path.write_text(head + "\n".join(parts), "utf-8")


def _summary(report: Mapping[str, Any]) -> str:
    found = {when: _share(report[f"needle_{when}"]) for when in ("before", "after", "control")}
    attention = report["attention"]
    return (
        f"<p>A base model of {report['base']['parameters']:,} parameters was extended over "
        f"{len(report['stages'])} stages with {escape(attention['name'])} attention over {attention['ring_size']} "
        f"devices. The needle was found in <b>{found['before']:.0%}</b> of the trials before and in "
        f"<b>{found['after']:.0%}</b> after; without a needle in {found['control']:.0%} "
        f"(chance {report['needle_chance']:g}). The whole took {report['wall_seconds']:.0f} s, of which "
        f"{report['run_seconds']:.0f} s were the run, and at most {report['peak_rss_bytes'] / 2**30:.1f} GiB.</p>"
    )


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    head = ("stage", "tokens a row", "theta", "steps", "tokens", "seconds", "first loss", "last loss")
    rows = [
        (s["name"], s["sequence_length"], f"{s['rope_theta']:g}", s["steps"], f"{s['tokens']:,}", s["seconds"],
         f"{s['first_loss']:.3f}", f"{s['last_loss']:.3f}")
        for s in stages
    ]  # fmt: skip
    return _table(head, rows)


def _records(records: Sequence[Mapping[str, Any]]) -> str:
    """An evaluator's records as a table, with its own names of columns."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else v for v in record.values()] for record in records]
    return _table(records[0].keys(), cells)


def _needle(report: Mapping[str, Any]) -> str:
    columns = ("before", "after", "control")
    cells: dict[tuple, dict[str, str]] = {}
    for when in columns:
        for record in report[f"needle_{when}"]:
            cell = cells.setdefault((record["context"], record["depth"]), {})
            cell[when] = f"{record['correct']}/{record['total']}"
    rows = [(c, f"{d:.0%}", *(cell.get(w, "") for w in columns)) for (c, d), cell in sorted(cells.items())]
    return _table(("context", "depth", "before", "after", "no needle"), rows)


def _made(folder: Path, made: Mapping[str, Any], name: str) -> str:
    asked = f"<p>{escape(name)}, {made['frames']} frame(s), for: <i>{escape(made['prompt'])}</i></p>"
    equal = f"generated; {made['codes_equal_to_the_clip']:.0%} of its codes are the clip's own"
    real = "the clip's own frames through the tokenizer"
    return asked + _picture(folder / made["file"], equal) + _picture(folder / made["real_file"], real)


def _picture(file: Path, caption: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    kind = file.suffix.lstrip(".")
    image = f"<img src='data:image/{kind};base64,{data}' alt='{escape(caption or file.stem)}'>"
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + row(head, "th") + "".join(row(cells, "td") for cells in rows) + "</table>"


def _share(records: Sequence[Mapping[str, Any]]) -> float:
    return sum(r["correct"] for r in records) / max(1, sum(r["total"] for r in records))


def _lines(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in facts.items())
