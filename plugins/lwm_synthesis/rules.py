"""The writer that needs no model: questions about a sentence of the chunk, answered in its own words.

Owns two forms of question. What they lack in wit they have in truth: the answer is in the chunk, word for word.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwm_synthesis.base import Chunk, Pair
from lwm_synthesis.sentences import WORD, Sentence, once, picked, sentences, squeezed


GAP = "____"


@dataclass(frozen=True)
class RuleWriter:
    """Asks for a missing word, or for the rest of a sentence.

    - `shortest`, `longest`: words in the sentences that are asked about;
    - `opening`: words of a sentence that are given, when its rest is asked for;
    - `rest`: share of questions that ask for the rest;
    - `seed`: the same seed and chunk give the same pair.
    """

    shortest: int = 8
    longest: int = 40
    opening: int = 5
    rest: float = 0.5
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.opening < self.shortest <= self.longest:
            raise ValueError(
                f"opening={self.opening}, shortest={self.shortest}, longest={self.longest}: "
                "give 1 <= opening < shortest <= longest."
            )
        if not 0 <= self.rest <= 1:
            raise ValueError(f"rest={self.rest}: give a share from 0 to 1.")

    @property
    def batch(self) -> int:
        return 64

    @property
    def costly(self) -> bool:
        return False

    @property
    def speed(self) -> tuple[str, ...]:
        return ()

    def write(self, chunks: Sequence[Chunk]) -> list[Pair | None]:
        return [self._pair(chunk.text) for chunk in chunks]

    def _pair(self, text: str) -> Pair | None:
        rng = np.random.default_rng([self.seed, zlib.crc32(text.encode())])
        found = once(text, sentences(text, fewest=self.shortest, most=self.longest))
        # A chunk is cut between words: its first and last sentences may not be whole.
        found = [s for s in found if s.start > 0 and s.stop < len(text.rstrip())] or found
        for sentence in picked(rng, found):
            pair = self._rest(text, sentence) if rng.random() < self.rest else _missing(text, sentence, rng)
            if pair is not None:
                return pair
        return None

    def _rest(self, text: str, sentence: Sentence) -> Pair | None:
        words = squeezed(text[sentence.start : sentence.stop]).split()
        opening, rest = " ".join(words[: self.opening]), " ".join(words[self.opening :])
        if not rest or squeezed(text).count(opening) != 1:
            return None
        return Pair(f'How does the sentence that begins with "{opening}" go on?', rest)


def _missing(text: str, sentence: Sentence, rng: np.random.Generator) -> Pair | None:
    """A word that the chunk has once: a name, a number or a long one."""
    counts = Counter(word.lower() for word in WORD.findall(text))
    words = list(WORD.finditer(text, sentence.start, sentence.stop))
    telling = [w for w in words[1:] if counts[w.group().lower()] == 1 and _tells(w.group())]
    if not telling:
        return None
    word = telling[rng.integers(len(telling))]
    shown = f"{text[sentence.start : word.start()]}{GAP}{text[word.end() : sentence.stop]}"
    return Pair(f'Which word is missing in this sentence of the text? "{squeezed(shown)}"', word.group())


def _tells(word: str) -> bool:
    return word[0].isupper() or any(map(str.isdigit, word)) or len(word) >= 6
