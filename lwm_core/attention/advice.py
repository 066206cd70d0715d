"""Who would accept a call that a part refused.

Owns the question, asked only when a call is refused. The core knows no catalog, so whoever keeps one answers: a
function `(part, site) -> sentence` that an entry point of group `lwm.advice` names.
"""

import importlib.metadata


GROUP = "lwm.advice"


def advice(part, site) -> str:
    """What the installed advisers say, each behind a space; nothing where none is installed.

    An adviser that fails is quoted and never takes the place of the refusal itself.
    """
    said = []
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            said.append(entry.load()(part, site))
        except Exception as error:
            said.append(f"(The adviser {entry.name!r} failed: {type(error).__name__}: {error})")
    return "".join(f" {sentence}" for sentence in said if sentence)
