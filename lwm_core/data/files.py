"""What every source of files needs: the list of paths, lazy reading by byte range, messages with a place.

Owns no format. Files are UTF-8 and are never held in memory whole.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def check_paths(paths: Sequence[Path | str]) -> None:
    """Raises when there is no file, or one is missing or empty."""
    if isinstance(paths, str):
        raise ValueError(f"paths = {paths!r} is one text: give a list of files, such as [{paths!r}].")
    if not paths:
        raise ValueError("No file given: name at least one in `paths`.")
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"No file {str(path)!r} (seen from {Path.cwd()}): check the name in `paths`.")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty: remove it from `paths`, or put text in it.")


@contextmanager
def mapped(path: Path | str) -> Iterator[mmap.mmap]:
    """The file's bytes without reading them all."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def read_text(path: Path | str, start: int, stop: int, line: int) -> str:
    """The text of a byte range that begins on `line`; line ends become `\\n`, a byte-order mark goes."""
    with open(path, "rb") as file:
        file.seek(start)
        raw = file.read(stop - start)
    try:
        text = raw.decode("utf-8-sig" if start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        at = line + raw[: error.start].count(b"\n")
        raise ValueError(
            f"{path}:{at}: not UTF-8 (byte 0x{raw[error.start]:02x}, {error.reason}): convert the file, for "
            "example with `iconv -f latin1 -t utf-8`."
        ) from error
    return text.replace("\r\n", "\n")
