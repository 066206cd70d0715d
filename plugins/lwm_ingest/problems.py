"""What is wrong with a file that is to be ingested, told by name, and collected or raised as asked.

Owns the fault and its ledger. It finds none itself.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from lwm_core.data.problems import check_on_error


@dataclass(frozen=True)
class Fault:
    """`file`: its name under the folder, or a line of the manifest; `kind`: what faults are counted by."""

    file: str
    kind: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


class Unreadable(ValueError):
    """A file that gives no frames; `kind` is what it is counted as, the message why and what to do."""

    def __init__(self, kind: str, problem: str):
        super().__init__(problem)
        self.kind = kind


class IngestError(ValueError):
    """A fault where faults are fatal."""


def printable(text: str) -> str:
    """The text with what is no Unicode, as in the name of a file in an old encoding, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass
class Ledger:
    """Faults as they come: the first ends the run under "fail", all are kept under "skip"."""

    on_error: Literal["skip", "fail"] = "fail"
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self):
        check_on_error(self.on_error)

    def add(self, file: str, kind: str, problem: str) -> None:
        fault = Fault(printable(file), kind, printable(problem))
        if self.on_error == "fail":
            raise IngestError(f"{fault} Mend it or take it out, or leave such files out with --on-error skip.")
        self.faults.append(fault)

    def data(self) -> dict[str, Any]:
        """Count, counts by kind, and every one, as JSON data."""
        kinds = dict(sorted(Counter(fault.kind for fault in self.faults).items()))
        files = [{"file": fault.file, "kind": fault.kind, "problem": fault.problem} for fault in self.faults]
        return {"count": len(files), "kinds": kinds, "files": files}
