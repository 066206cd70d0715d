"""Questions by any model behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, or a hosted one.

Owns the requests: how many at once, how fast, how long each may take, and which failures are tried again. What is asked
and how a reply is read is `prompt`'s. Standard library only.
"""

import email.utils
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lwm_synthesis.base import Chunk, Pair
from lwm_synthesis.prompt import INSTRUCTION, asked, read


AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 60.0


class EndpointError(RuntimeError):
    """The endpoint refused a request, or could not be reached after every attempt."""


@dataclass(frozen=True)
class EndpointWriter:
    """Asks `POST {url}/chat/completions` about each chunk.

    - `url`: up to the version, such as "http://localhost:8000/v1"; `model`: the name that it knows the model by;
    - `key_variable`: the environment variable that holds the key, if the endpoint wants one; a recipe never holds it;
    - `concurrency`: requests at once; `rate`: requests begun in a second at most, None for no limit;
    - `timeout`: seconds for one request; `attempts`: for one chunk, the first included, when the endpoint is busy,
      breaks off, or its reply holds no pair; `backoff`: seconds before the second one, doubled each time, or what the
      endpoint asks for;
    - `temperature`, `most_tokens`, `seed`: sent along; endpoints that honour the seed give the same pair again.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    rate: float | None = None
    timeout: float = 120.0
    attempts: int = 5
    backoff: float = 1.0
    temperature: float = 0.0
    most_tokens: int = 256
    seed: int = 0
    instruction: str = INSTRUCTION

    def __post_init__(self):
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"url={self.url!r}: give one such as 'http://localhost:8000/v1'.")
        for name in ("concurrency", "attempts", "most_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        for name in ("timeout", "rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: give a number > 0.")
        if self.backoff < 0:
            raise ValueError(f"backoff={self.backoff}: give 0 or more.")

    @property
    def batch(self) -> int:
        return 4 * self.concurrency

    @property
    def costly(self) -> bool:
        return True

    @property
    def speed(self) -> tuple[str, ...]:
        return ("key_variable", "concurrency", "rate", "timeout", "attempts", "backoff")

    def write(self, chunks: Sequence[Chunk]) -> list[Pair | None]:
        """A pair for each chunk; None where no attempt gave one. Raises `EndpointError`, which names the fix."""
        pace = _Pace(self.rate)
        with ThreadPoolExecutor(self.concurrency) as pool:
            waiting = [pool.submit(self._pair, chunk, pace) for chunk in chunks]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                pace.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def _pair(self, chunk: Chunk, pace: "_Pace") -> Pair | None:
        reply: Exception | str = ""
        for attempt in range(self.attempts):
            pace.wait(self._delay(attempt, reply, chunk))
            try:
                reply = self._reply(chunk, self.seed + attempt)
            except urllib.error.HTTPError as error:
                with error:  # it holds the connection
                    if error.code not in AGAIN:
                        raise EndpointError(self._refused(error)) from error
                reply = error
                continue
            except (OSError, http.client.HTTPException) as error:
                reply = error
                continue
            if (pair := read(reply)) is not None:
                return pair
        if isinstance(reply, Exception):
            raise EndpointError(
                f"{self.url} failed {self.attempts} times for {chunk.name}; the last time: {_said(reply)}. "
                "Is it running there? Raise `attempts`, `timeout` or `backoff`, or lower `concurrency`; what is "
                "written so far is kept."
            ) from reply
        return None

    def _reply(self, chunk: Chunk, seed: int) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": asked(self.instruction, chunk.text)}],
            "temperature": self.temperature,
            "max_tokens": self.most_tokens,
            "seed": seed,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            return _words(response.read())

    def _delay(self, attempt: int, reply: Exception | str, chunk: Chunk) -> float:
        """Seconds before an attempt. Spread a little, so that requests refused together do not come back together."""
        if attempt == 0:
            return 0.0
        told = _retry_after(reply) if isinstance(reply, urllib.error.HTTPError) else None
        spread = random.Random(f"{chunk.name}:{attempt}").uniform(0.75, 1.25)
        return min(self.backoff * 2 ** (attempt - 1) * spread if told is None else told, LONGEST_WAIT)

    def _refused(self, error: urllib.error.HTTPError) -> str:
        fixes = {
            401: f"put a key in the environment variable {self.key_variable}",
            403: f"the key in {self.key_variable} may not use this model",
            404: "check `url` (up to /v1) and `model`",
        }
        body = error.read(400).decode("utf-8", "replace").strip()
        return f"{self.url} refuses ({error.code} {error.reason}): {fixes.get(error.code, 'see its answer')}. {body}"


class _Pace:
    """Lets requests begin no faster than `rate` a second, over all threads; `stop` wakes those that wait."""

    def __init__(self, rate: float | None):
        self._gap = 0.0 if rate is None else 1 / rate
        self._next, self._lock, self._over = 0.0, threading.Lock(), threading.Event()

    def wait(self, delay: float) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now + delay, self._next)
            self._next = max(self._next, now) + self._gap if delay else start + self._gap
        if self._over.wait(start - now):
            raise EndpointError("Stopped, since another request failed.")

    def stop(self) -> None:
        self._over.set()


def _words(body: bytes) -> str:
    """The model's words in a reply; "" for a reply of another form, which is then tried again as no pair."""
    try:
        content: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return ""
    return content if isinstance(content, str) else ""


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """Seconds that the endpoint asks to wait, given as a number or as a date."""
    given = error.headers.get("Retry-After", "")
    if given.replace(".", "", 1).isdigit():
        return float(given)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"
