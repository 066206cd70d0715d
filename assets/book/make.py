"""Makes moby-dick.txt from a folder of chapter_N.json files (fields chapter, title, text) and epilogue.json.

Usage: python make.py FOLDER > moby-dick.txt
"""

import json
import sys
from pathlib import Path


CHAPTERS = 135
SEPARATOR = "\n\n\n"  # two empty lines: no chapter holds them inside


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def chapters(folder: Path):
    for number in range(1, CHAPTERS + 1):
        record = read(folder, f"chapter_{number}")
        yield f"CHAPTER {number}. {record['title'].strip()}\n\n{record['text'].strip()}"
    yield f"EPILOGUE.\n\n{read(folder, 'epilogue')['text'].removeprefix('Epilogue').strip()}"


if __name__ == "__main__":
    parts = list(chapters(Path(sys.argv[1])))
    assert not any(SEPARATOR in part for part in parts)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.write(SEPARATOR.join(parts) + "\n")
