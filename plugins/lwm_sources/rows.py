"""Rows of Arrow tables as plain records, and their faults. Reads no file.

Long lists of codes become arrays at once, since turning a million of them into Python numbers takes a second.
"""

from collections.abc import Sequence
from typing import Any

from lwm_core.data.json_lines import check_characters
from lwm_core.data.problems import BadRecord
from lwm_core.data.records import Records
from lwm_core.data.schema import FIELDS, missing, no_kind


def columns_of(names: Sequence[str], records: Records) -> list[str]:
    """The columns to read of a table; `BadRecord` where one is missing."""
    if records.columns is None:
        known = [name for name in names if name in FIELDS]
        if not known:
            raise no_kind(names)
        return known
    wanted = []
    for path in records.columns:
        column = path if path in names else path.partition(".")[0]
        if column in names:
            wanted.append(column)
        elif path in records.required:
            raise missing(names, column)
    return list(dict.fromkeys(wanted))


def record_at(table: Any, row: int) -> dict[str, Any]:
    """One row as a record; `BadRecord` for text that is not UTF-8, or that no tokenizer reads."""
    record = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        try:
            record[name] = _plain(column[row])
        except UnicodeDecodeError as error:
            what = f"not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start + 1}, {error.reason})"
            raise BadRecord(name, f"is {what}", "write the column again as UTF-8") from error
    check_characters(record, "")
    return record


def _plain(scalar: Any) -> Any:
    import pyarrow.types as types

    kind = scalar.type
    if not scalar.is_valid or not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return scalar.as_py()
    values = scalar.values
    if values.null_count == 0 and types.is_integer(kind.value_type):
        return values.to_numpy(zero_copy_only=False)
    if types.is_list(kind.value_type) or types.is_large_list(kind.value_type):
        return [_plain(value) for value in values]
    return scalar.as_py()
