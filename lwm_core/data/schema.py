"""The record schema, version 1: which kinds of record there are and which fields each must and may have.

Owns the kinds, and the messages for a field that is missing, misspelt or of another kind. `docs/data.md` is its
description for people; making documents of records is `records`'s.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from lwm_core.data.problems import BadRecord
from lwm_core.data.values import described, did_you_mean, there_is


VERSION = 1
COMMON = ("meta", "schema")


class Kind(NamedTuple):
    """The fields that tell the kind, those it needs besides, those it may have, and how a record looks."""

    name: str
    signs: tuple[str, ...]
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    example: str


KINDS = (
    Kind("chat", ("messages",), ("messages",), (), '{"messages": [{"role": "user", "content": "..."}, ...]}'),
    Kind(
        "qa",
        ("question", "answer", "pairs"),
        ("question", "answer"),
        ("context", "image", "video"),
        '{"question": "...", "answer": "..."}',
    ),
    Kind("video-text", ("video",), ("video",), ("text", "caption"), '{"video": [[...], ...], "text": "..."}'),
    Kind("image-text", ("image",), ("image",), ("text", "caption"), '{"image": [[...]], "text": "..."}'),
    Kind("text", ("text",), ("text",), (), '{"text": "..."}'),
)
FIELDS = tuple(dict.fromkeys(name for kind in KINDS for name in (*kind.signs, *kind.needed, *kind.optional))) + COMMON


def kind_of(record: Mapping[str, Any]) -> Kind:
    """The kind of a record; `BadRecord` where it is none, or two at once. A null is a field that is not there."""
    _check_version(record)
    nulls = [name for name, value in record.items() if value is None]
    if nulls:
        record = present(record)
        if nulls[0] in FIELDS and not any(sign in record for kind in KINDS for sign in kind.signs):
            raise BadRecord(nulls[0], "is null", "write it, or take the record out")
    return _kind_by_names(tuple(record))


@lru_cache(maxsize=1024)
def _kind_by_names(names: tuple[str, ...]) -> Kind:
    """Cached, since the records of a file mostly have the same fields."""
    kind = next((kind for kind in KINDS if any(sign in names for sign in kind.signs)), None)
    if kind is None:
        raise no_kind(names)
    mine = {*kind.signs, *kind.needed, *kind.optional, *COMMON}
    for name in FIELDS:
        if name in names and name not in mine:
            raise BadRecord(
                name,
                f"does not belong beside {next(s for s in kind.signs if s in names)!r} (this is {kind.name})",
                f"take it out, or name the fields you mean with `fields` or `template`; {kind.name} is {kind.example}",
            )
    if "pairs" not in names:
        for name in kind.needed:
            if name not in names:
                raise missing(names, name, kind.example)
    for name in names:
        if name not in FIELDS and (hint := did_you_mean(name, sorted(mine - set(names)), 0.8)):
            raise BadRecord(name, f"is no field of {kind.name}{hint}", "rename it, or take it out")
    return kind


def present(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record without its nulls, which is how tables write what is not there."""
    if None not in record.values():
        return record
    return {key: value for key, value in record.items() if value is not None}


def missing(names: Collection[str], name: str, example: str = "") -> BadRecord:
    """No field of that name: what there is instead."""
    have = ", ".join(list(names)[:12]) or "nothing"
    fix = f"this record has {have}" + (f"; write {example}" if example else "")
    return BadRecord(name, f"is missing{there_is(name, names)}", fix)


def _check_version(record: Mapping[str, Any]) -> None:
    if record.get("schema", VERSION) != VERSION:
        raise BadRecord(
            "schema", f"is another version ({record['schema']!r:.40})", f"this program reads version {VERSION}"
        )
    if "meta" in record and not isinstance(record["meta"], Mapping):
        raise BadRecord("meta", f"is {described(record['meta'])}", "write an object, such as {}")


def no_kind(names: Collection[str]) -> BadRecord:
    signs = [sign for kind in KINDS for sign in kind.signs]
    for name in names:
        if hint := did_you_mean(name, signs):
            return BadRecord(name, f"is no field of the schema{hint}", 'rename it, or name it in `fields`, as ["..."]')
    have = ", ".join(list(names)[:12]) or "no field"
    return BadRecord(
        "",
        f"no kind of record has these fields ({have})",
        f"write one of {', '.join(signs)}, such as {KINDS[-1].example}, or name yours with `fields` or `template`",
    )
