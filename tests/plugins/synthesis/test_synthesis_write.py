"""Records in a file: valid, in order, and after any interruption the same bytes, with no chunk asked about twice."""

import json
import sys
from collections import Counter

import pytest

from lwm_core.data import Documents, Jsonl
from lwm_core.text import ByteTokenizer
from lwm_registry import cli, compose
from lwm_synthesis.base import Pair
from lwm_synthesis.rules import RuleWriter
from lwm_synthesis.source import Synthesis
from lwm_synthesis.tasks import Keyword, Questions
from lwm_synthesis.testing import TEXT


STORIES = Documents.of_texts(
    " ".join(f"Sailor number{d}x{i} keeps the lamp{d}x{i} near pier{d}x{i} at night." for i in range(25))
    for d in range(5)
)


def source(**changes):
    options = {"examples": 20, "length": 1600, "chunk": 500, "tasks": {"questions": Questions(2), "keyword": Keyword()}}
    return Synthesis(STORIES, ByteTokenizer(), **{**options, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole") / "qa.jsonl"
    counts = source().write_records(out)
    assert counts["examples"] == 20 and counts["tasks"] == {"questions": 10, "keyword": 10}
    assert 0 < counts["answer_tokens"] < counts["tokens"]
    return out.read_bytes()


def test_records_are_what_the_source_gives(whole, tmp_path):
    (tmp_path / "qa.jsonl").write_bytes(whole)
    read, made = Jsonl((tmp_path / "qa.jsonl",)), source()
    assert len(read) == len(made)
    for index in range(len(made)):
        assert read[index].spans == made[index].spans and read[index].meta["index"] == index


@pytest.mark.parametrize("cut", [0, 1, 0.1, 0.33, 0.5, 0.77, 0.999])
def test_cut_off_anywhere_it_goes_on_to_the_same_bytes(whole, tmp_path, cut):
    out = tmp_path / "qa.jsonl"
    kept = whole[: int(cut * len(whole)) if isinstance(cut, float) else cut]
    out.write_bytes(kept)
    assert source().write_records(out)["resumed"] == kept.count(b"\n")
    assert out.read_bytes() == whole
    assert source().write_records(out)["resumed"] == 20 and out.read_bytes() == whole


def test_a_file_can_be_made_longer_but_not_by_other_options(whole, tmp_path):
    out = tmp_path / "qa.jsonl"
    out.write_bytes(whole)
    assert source(examples=23).write_records(out)["examples"] == 23
    assert out.read_bytes().startswith(whole)
    with pytest.raises(ValueError, match=r"qa.jsonl:1: made with other options"):
        source(examples=23, seed=1).write_records(out)
    with pytest.raises(ValueError, match=r"holds 23 examples and 20 are asked for"):
        source().write_records(out)
    out.write_text('{"text": "mine"}\n')
    with pytest.raises(ValueError, match=r"qa.jsonl:1: this line was not written by `lwm synthesise`"):
        source().write_records(out)
    assert out.read_text() == '{"text": "mine"}\n'


class Killed(BaseException):
    pass


class Costly:
    """A writer that counts what it is asked, and dies after so many chunks."""

    batch, costly, speed = 3, True, ()

    def __init__(self, lives):
        self._lives, self.asked = lives, Counter()

    def write(self, chunks):
        if self.asked.total() >= self._lives:
            raise Killed
        self.asked.update(chunk.text for chunk in chunks)
        return [Pair(f"How long is it, {chunk.text[:9]}?", str(len(chunk.text))) for chunk in chunks]


def test_a_costly_writer_is_asked_once_about_each_chunk_though_killed(tmp_path):
    out, asked = tmp_path / "qa.jsonl", Counter()
    alone = Costly(10_000)
    source(writer=alone).write_records(tmp_path / "alone.jsonl")
    for lives in (6, 6, 6, 10_000):
        writer = Costly(lives)
        try:
            source(writer=writer).write_records(out)
        except Killed:
            assert lives == 6
        asked.update(writer.asked)
    assert set(asked.values()) == {1} and asked == alone.asked
    strip = lambda path: [json.loads(line)["messages"] for line in path.read_text().splitlines()]  # noqa: E731
    assert strip(out) == strip(tmp_path / "alone.jsonl")
    assert not list(tmp_path.glob("*.pairs")), "notes are gone when the file is whole"


@pytest.fixture
def lwm(monkeypatch, capsys):
    """(exit code, standard output, standard error) of a command."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lwm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


def test_from_the_command_line(lwm, tmp_path):
    out = tmp_path / "deep" / "qa.jsonl"
    small = ["sources.questions.examples=4", "sources.questions.length=2048", "sources.questions.chunk=400"]
    small += ["tokenizer=bytes", "sources.questions.documents.stop=0.02"]
    code, said, _ = lwm("synthesise", "questions", "--out", out, "--json", *small)
    assert code == 0 and json.loads(said)["examples"] == 4
    code, said, told = lwm("synthesise", "questions", "--out", out, "--json", *small)
    assert json.loads(said)["resumed"] == 4
    code, _, said = lwm("synthesise", "tiny-text", "--out", out)
    assert code == 2 and "no source of use" in said and "Traceback" not in said
    code, _, said = lwm("synthesise", "tiny-text", "--source", "book", "--out", out)
    assert code == 2 and "writes no records" in said


def test_a_stage_can_draw_from_it_as_it_is():
    questions = {"use": "synthesis", "examples": 4, "length": 1024, "chunk": 300}
    documents = {"use": "documents", "documents": [{"spans": [{"modality": "text", "content": TEXT * 3}]}]}
    made = compose("tiny-text", {"sources": {"book": {**questions, "documents": documents}}})
    assert made.sources["book"].writer == RuleWriter() and "USER:" in made.sources["book"][0].spans[0].content
