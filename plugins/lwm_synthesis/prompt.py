"""What a writer is told, and how its reply is read. Owns the words and the form of a reply, for models that chat."""

import json
import re

from lwm_synthesis.base import Pair


INSTRUCTION = (
    "Read the passage and write one question about it that can be answered from the passage alone, without knowing "
    'where the passage is from, and its answer in a few words. Reply with JSON only: {"question": "...", "answer": '
    '"..."}'
)


def asked(instruction: str, passage: str) -> str:
    """The whole message to a model that chats."""
    return f"{instruction}\n\nPassage:\n{passage}"


def read(reply: str) -> Pair | None:
    """The pair in a reply: the first JSON object that has both texts, whatever stands around it."""
    decoder = json.JSONDecoder()
    for place in (match.start() for match in re.finditer(r"\{", reply)):
        try:
            found, _ = decoder.raw_decode(reply, place)
        except ValueError:
            continue
        pair = [found.get(name) for name in ("question", "answer")] if isinstance(found, dict) else []
        if pair and all(isinstance(text, str) and text.strip() for text in pair):
            return Pair(*(str(text).strip() for text in pair))
    return None
