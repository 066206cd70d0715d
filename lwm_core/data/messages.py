"""The conversation in a record: its messages, or its questions and answers, checked one by one.

Owns what they may hold and the messages that name the place within. How they read is `chat`'s.
"""

from collections.abc import Mapping
from typing import Any

from lwm_core.data.chat import ROLES, Message
from lwm_core.data.problems import BadRecord
from lwm_core.data.values import Part, Reading, content, described, did_you_mean, text, there_is
from lwm_core.data.wording import VISION


_MESSAGES = 'write [{"role": "user", "content": "..."}, ...]'
_PAIRS = 'write [{"question": "...", "answer": "..."}, ...]'
_SHAREGPT = "write role and content instead of from and value (human is user, gpt is assistant)"


def vision(value: Any, field: str, how: Reading) -> Part:
    """The ids of one picture or clip."""
    part = content(value, field, VISION, how)
    if not len(part.content):
        raise BadRecord(field, "is empty", "write its codes, or take the record out")
    return part


def messages(given: Any, how: Reading) -> list[Message]:
    """The messages of a chat; at least one is the assistant's and counts."""
    if not isinstance(given, list) or not given:
        raise BadRecord("messages", f"is {described(given)}", _MESSAGES)
    found = [_message(item, f"messages[{at}]", how) for at, item in enumerate(given)]
    if not any(m.role == "assistant" and m.weight > 0 for m in found):
        raise BadRecord("messages", "has no answer to learn from", 'add a message of role "assistant"')
    return found


def asked(record: Mapping[str, Any], how: Reading) -> list[Message]:
    """A question and its answer, or `pairs` of them; context, then picture, go with the first question."""
    several = "pairs" in record
    if several and ("question" in record or "answer" in record):
        raise BadRecord("pairs", "stands beside 'question' or 'answer'", "keep one form")
    pairs = record["pairs"] if several else [record]
    if not isinstance(pairs, list) or not pairs:
        raise BadRecord("pairs", f"is {described(pairs)}", _PAIRS)
    found = []
    for at, pair in enumerate(pairs):
        where = f"pairs[{at}]." if several else ""
        if not isinstance(pair, Mapping):
            raise BadRecord(where[:-1], f"is {described(pair)}", _PAIRS)
        question, answer = _words(pair, "question", where), _words(pair, "answer", where)
        before, after = _around(record, how) if at == 0 else ((), ())
        found.append(Message("user", (*before, question, *after)))
        found.append(Message("assistant", (answer,)))
    return found


def _around(record: Mapping[str, Any], how: Reading) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """What stands before the first question, and after it: as LWM's prompts have it."""
    before = (Part("text", f"{text(record['context'], 'context')}\n"),) if "context" in record else ()
    after = []
    for key in ("image", "video"):
        if key in record:
            after += [Part("text", "\n"), vision(record[key], key, how)]
    return before, tuple(after)


def _words(pair: Mapping[str, Any], name: str, where: str) -> Part:
    if pair.get(name) is None:
        raise BadRecord(where + name, f"is missing{there_is(name, pair)}", "write it, as text")
    words = text(pair[name], where + name)
    if not words.strip():
        raise BadRecord(where + name, "is empty", "write it, or take the record out")
    return Part("text", words)


def _message(item: Any, where: str, how: Reading) -> Message:
    if not isinstance(item, Mapping):
        raise BadRecord(where, f"is {described(item)}", 'write {"role": "user", "content": "..."}')
    role = _role(item, where)
    parts = _contents(item, where, how)
    if role == "assistant" and not any(p.modality != "text" or str(p.content).strip() for p in parts):
        raise BadRecord(f"{where}.content", "is empty", "write the answer, or take the message out")
    return Message(role, parts, _weight(item, where))


def _role(item: Mapping[str, Any], where: str) -> str:
    role = item.get("role")
    if isinstance(role, str) and role in ROLES:
        return role
    if role is None:
        fix = _SHAREGPT if "from" in item and "value" in item else f"write one of {', '.join(ROLES)}"
        raise BadRecord(f"{where}.role", "is missing", fix)
    hint = did_you_mean(role, ROLES) if isinstance(role, str) else ""
    what = f"is no role ({role!r:.40}){hint}" if isinstance(role, str) else f"is {described(role)}"
    raise BadRecord(f"{where}.role", what, f"write one of {', '.join(ROLES)}")


def _weight(item: Mapping[str, Any], where: str) -> float:
    weight = item.get("weight")
    if weight is None:
        return 1.0
    if type(weight) not in (int, float) or not 0 <= weight < float("inf"):
        raise BadRecord(f"{where}.weight", f"is {described(weight)}", "write a number of 0 or more")
    return float(weight)


def _contents(item: Mapping[str, Any], where: str, how: Reading) -> tuple[Part, ...]:
    value, where = item.get("content"), f"{where}.content"
    if isinstance(value, str):
        return (Part("text", value),)
    if not isinstance(value, list):
        what = f"is missing{there_is('content', item)}" if value is None else f"is {described(value)}"
        raise BadRecord(where, what, 'write text, or a list of {"text": ...}, {"image": ...} and {"video": ...}')
    return tuple(_part(part, f"{where}[{at}]", how) for at, part in enumerate(value))


def _part(item: Any, where: str, how: Reading) -> Part:
    keys = [key for key in ("text", "image", "video") if isinstance(item, Mapping) and item.get(key) is not None]
    if len(keys) != 1:
        raise BadRecord(where, "holds no one of text, image and video", 'write {"text": "..."} or {"image": [[...]]}')
    field = f"{where}.{keys[0]}"
    if keys[0] == "text":
        return Part("text", text(item["text"], field))
    return vision(item[keys[0]], field, how)
