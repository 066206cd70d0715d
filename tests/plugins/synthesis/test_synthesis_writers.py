"""Writers: by rule, by a model of ours, and by a real server that is slow, busy, wrong and then right."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lwm_registry import compose
from lwm_synthesis.base import Chunk, Pair
from lwm_synthesis.endpoint import EndpointError, EndpointWriter
from lwm_synthesis.local import LocalWriter
from lwm_synthesis.prompt import read
from lwm_synthesis.rules import RuleWriter
from lwm_synthesis.sentences import squeezed
from lwm_synthesis.testing import TEXT, check_question_writer


CHUNKS = [Chunk(TEXT.replace("Amos", f"Amos{i}"), f"story#{i}", 100) for i in range(6)]


def test_rules_ask_what_the_chunk_answers_word_for_word():
    check_question_writer(RuleWriter())
    pairs = RuleWriter().write(CHUNKS)
    assert pairs == RuleWriter().write(CHUNKS) and pairs != RuleWriter(seed=1).write(CHUNKS)
    for chunk, (question, answer) in zip(CHUNKS, pairs, strict=True):
        quoted = question.split('"')[1]
        whole = quoted.replace("____", answer) if "____" in quoted else f"{quoted} {answer}"
        assert squeezed(chunk.text).count(whole) == 1
    assert RuleWriter().write([Chunk("ok", "d", 1)]) == [None]


@pytest.fixture
def server():
    """A server of `/v1/chat/completions` on this machine; `server.replies(n, body)` → (status, headers, text)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with made.lock:
                made.seen.append((time.monotonic(), self.path, self.headers.get("Authorization"), body))
                number, made.now = len(made.seen) - 1, made.now + 1
                made.most = max(made.most, made.now)
            status, headers, text = made.replies(number, body)
            with made.lock:
                made.now -= 1
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                pass  # who asked has hung up

        def log_message(self, format, *args):
            """Tests print nothing."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.seen, made.lock, made.now, made.most = [], threading.Lock(), 0, 0
    made.replies = lambda number, body: (200, {}, told(body))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def told(body, words=None):
    """A reply that names the Amos of the passage, with words around the JSON as chatty models have them."""
    name = next(word for word in body["messages"][0]["content"].split() if word.startswith("Amos"))
    pair = json.dumps({"question": f"Who is {name}?", "answer": name})
    content = f"Sure! {{Here it is}}:\n```json\n{pair}\n```" if words is None else words
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def writer(server, **options):
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    return EndpointWriter(url, "small", **{"backoff": 0.01, "timeout": 5.0, **options})


WANTED = [Pair(f"Who is Amos{i}?", f"Amos{i}") for i in range(6)]


def test_a_server_is_asked_as_it_expects_and_pairs_come_back_in_order(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    server.replies = lambda number, body: (time.sleep(0.02 * (5 - number % 6)), (200, {}, told(body)))[1]
    assert writer(server, concurrency=3, key_variable="MY_KEY").write(CHUNKS) == WANTED
    assert 1 < server.most <= 3, "requests are made side by side, and no more at once than allowed"
    _, path, key, body = server.seen[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer s3cret")
    assert body["model"] == "small" and body["messages"][0]["role"] == "user" and body["temperature"] == 0


def test_busy_broken_slow_and_senseless_replies_are_tried_again(server):
    def replies(number, body):
        if number == 3:
            time.sleep(0.5)
        wrong = {
            0: (503, {}, b"busy"),
            1: (429, {"Retry-After": "0.05"}, b"slow down"),
            2: (200, {}, b"<html>"),
            4: (200, {}, told(body, "I cannot do that.")),
            5: (200, {}, told(body, '{"question": "", "answer": "x"}')),
        }
        return wrong.get(number, (200, {}, told(body)))

    server.replies = replies
    assert writer(server, timeout=0.25, attempts=6).write(CHUNKS) == WANTED
    assert len(server.seen) > 6


def test_requests_keep_to_the_pace(server):
    assert writer(server, rate=50.0).write(CHUNKS) == WANTED
    times = sorted(moment for moment, *_ in server.seen)
    assert times[-1] - times[0] >= 5 / 50 - 0.02


def test_what_never_makes_sense_is_no_pair_and_what_is_refused_stops(server):
    server.replies = lambda number, body: (200, {}, told(body, "no"))
    assert writer(server, attempts=2).write(CHUNKS[:2]) == [None, None] and len(server.seen) == 4
    server.replies = lambda number, body: (401, {}, b"who are you")
    with pytest.raises(EndpointError, match=r"401.*environment variable OPENAI_API_KEY. who are you"):
        writer(server).write(CHUNKS)
    server.replies = lambda number, body: (500, {}, b"")
    with pytest.raises(EndpointError, match=r"failed 2 times for story#0; the last time: HTTPError.*500"):
        writer(server, attempts=2).write(CHUNKS[:1])


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(EndpointError, match=r"http://127.0.0.1:9/v1 failed 1 times .* Is it running there"):
        EndpointWriter("http://127.0.0.1:9/v1", "m", attempts=1).write(CHUNKS[:1])
    with pytest.raises(ValueError, match="give one such as"):
        EndpointWriter("localhost:8000", "m")


def test_a_reply_is_read_only_when_it_is_a_pair():
    assert read('x {"a": 1} {"question": " Q? ", "answer": "A"} y') == Pair("Q?", "A")
    for reply in ("", "{", '{"question": "Q?"}', '{"question": "Q?", "answer": 3}', "[1]"):
        assert read(reply) is None


def test_a_model_of_ours_writes_the_same_pair_whatever_stands_beside(tmp_path):
    small = {"use": "llama", "size": "debug", "width": 16, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 16}
    recipe = {"tokenizer": "bytes", "model": small, "attention": "dense", "seed": 3}
    out = tmp_path / "run"
    pipeline = compose(recipe)
    pipeline.save(out / "checkpoints")
    (out / "recipe.json").write_text(json.dumps(dict(pipeline.recipe)))
    local = LocalWriter(out, question_tokens=6, answer_tokens=6, batch=2, examples="")
    pairs = local.write(CHUNKS[:3])
    assert len(pairs) == 3 and pairs[2:] == local.write(CHUNKS[2:3])
    assert all(pair is None or "\n" not in "".join(pair) for pair in pairs)
