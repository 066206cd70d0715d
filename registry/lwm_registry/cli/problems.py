"""What the command line says about an error, and with which exit code. It prints nothing itself."""

from lwm_registry.errors import message


BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130

_GIVEN = (
    ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError,
)  # fmt: skip


def told(error: Exception) -> tuple[str, int]:
    """One message for a person, and the exit code."""
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith("---")]
    if isinstance(error, _GIVEN):
        return "\n".join([message(error), *notes]), BAD_INPUT
    hint = "Set LWM_TRACEBACK=1 to see where it was raised."
    return "\n".join([f"{type(error).__name__}: {message(error)}", *notes, hint]), FAILURE
