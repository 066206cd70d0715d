"""What the registry says when it cannot do as asked. Standard library only.

Every message says what was given, what is allowed and what to type instead; the command line shows exactly the
message. Owns the error classes and the did-you-mean; it finds and builds nothing.
"""

import difflib
from collections.abc import Iterable


_LONGEST = 500


class RegistryError(ValueError):
    """Anything that the registry refuses; `str(error)` is the whole message for a person."""


class UnknownName(RegistryError):
    """A kind, part, recipe, table or option that is not there."""


class NameClash(RegistryError):
    """Two plugins offer the same name of the same kind."""


class BadOption(RegistryError):
    """An option whose value is of the wrong type, missing, or refused by the part itself."""


class BrokenPlugin(RegistryError):
    """A plugin or part that raises when it is imported, or does not keep the rules."""


class RunDiffers(UserWarning):
    """A run was made by other plugins or other versions than those installed now."""


def listed(names: Iterable[str]) -> str:
    """The names in order, for a message; `none` when there are none."""
    return ", ".join(sorted(names)) or "none"


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no allowed name is close."""
    names = list(allowed)
    # As a person types a title, such as "LWM-Text 1M", where nothing is close to it as it stands.
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.8) or difflib.get_close_matches(
        "-".join(given.lower().split()), names, n=1, cutoff=0.6
    )
    return f" Did you mean {close[0]!r}?" if close else ""


def brief(error: BaseException) -> str:
    """The error in one line: its class and its message, or the message alone where it is one of ours."""
    line = " ".join(message(error).split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
    return line if isinstance(error, RegistryError) else f"{type(error).__name__}: {line}"


def message(error: BaseException) -> str:
    """The error's own words; a `KeyError` keeps them in its argument, and `str` would quote them."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        return str(error.args[0])
    return str(error)
