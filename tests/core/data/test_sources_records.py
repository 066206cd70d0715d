"""Records to spans: every kind of the schema, the template language, and each fault by field and fix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.data import BadRecord, Chat, Field, Records
from lwm_core.data.json_lines import record_of
from lwm_core.data.template import Template
from lwm_core.text import ByteTokenizer


def spans(record, options=None, **others):
    document = Records(**(options or others)).document(record, "here")
    return [(s.content if isinstance(s.content, str) else list(s.content), s.loss) for s in document.spans]


CHAT = "You are a helpful assistant. USER: Who?"
FRAMES = [[1, 2, 3], [4, 5, 6]]
CLOSED = [1, 2, 3, 8, 4, 5, 6, 9]  # codebook 8: end of frame, end of vision


@pytest.mark.parametrize(
    "record, wanted",
    [
        ({"text": "a", "url": "x", "meta": {"n": 1}, "schema": 1}, [("a", 1.0)]),
        (
            {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]},
            [(f"{CHAT} ASSISTANT:", 0.0), (" I.", 1.0)],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Who?\n"}, {"image": [7, 9]}]},
                    {"role": "assistant", "content": "I.", "weight": 0.5},
                ]
            },
            [(f"{CHAT}\n<vision>", 0.0), ([7, 9], 0.0), ("</vision> ASSISTANT:", 0.0), (" I.", 0.5)],
        ),
        ({"question": "Who?", "answer": "I.", "context": None}, [(f"{CHAT} ASSISTANT:", 0.0), (" I.", 1.0)]),
        (
            {"context": "Long.", "pairs": [{"question": "A?", "answer": "a"}, {"question": "B?", "answer": "b"}]},
            [
                ("You are a helpful assistant. USER: Long.\nA? ASSISTANT:", 0.0),
                (" a", 1.0),
                (" USER: B? ASSISTANT:", 0.0),
                (" b", 1.0),
            ],
        ),
        (
            {"question": "Who?", "answer": "I.", "video": FRAMES},
            [(f"{CHAT}\n<vision>", 0.0), (CLOSED, 0.0), ("</vision> ASSISTANT:", 0.0), (" I.", 1.0)],
        ),
        ({"image": FRAMES[:1], "text": "a cat"}, [("a cat <vision>", 1.0), ([1, 2, 3, 9], 1.0), ("</vision>", 1.0)]),
        ({"video": CLOSED, "caption": "a cat"}, [("a cat <vision>", 1.0), (CLOSED, 1.0), ("</vision>", 1.0)]),
        ({"video": FRAMES}, [("<vision>", 1.0), (CLOSED, 1.0), ("</vision>", 1.0)]),
    ],
    ids=["text", "chat", "chat-image", "qa", "pairs", "qa-video", "image-text", "video-text", "video"],
)
def test_every_kind_of_the_schema(record, wanted):
    assert spans(record, codebook=8, order="text-first") == wanted


def test_captions_and_pictures_are_swapped_by_seed():
    first = Records(seed=1)
    record = {"image": [1, 2], "text": "a cat"}
    swaps = [first.document(record, "", (i,)).spans[0].content for i in range(40)]
    assert swaps == [Records(seed=1).document(record, "", (i,)).spans[0].content for i in range(40)]
    assert 8 < sum(s == "<vision>" for s in swaps) < 32
    assert swaps != [Records(seed=2).document(record, "", (i,)).spans[0].content for i in range(40)]


@pytest.mark.parametrize(
    "template, wanted",
    [
        ("USER: {q} ASSISTANT:[ {a}]", [("USER: Q ASSISTANT:", 0.0), (" A", 1.0)]),
        ("[[INST]] {q} [[/INST]][ {a}{@eos}]", [("[INST] Q [/INST]", 0.0), (" A", 1.0), ([257], 1.0)]),
        ("{q}[0.5|{a}][{a}]", [("Q", 0.0), ("A", 0.5), ("A", 1.0)]),
        ("{{{q}}} [{d.e.0}]", [("{Q} ", 0.0), ("deep", 1.0)]),
        ("{gone?}[{a}]", [("A", 1.0)]),
        ("[{a} {v:vision}]", [("A ", 1.0), ([1, 2], 1.0)]),
        ("[{d.x}]", [("dotted", 1.0)]),
    ],
)
def test_templates(template, wanted):
    record = {"q": "Q", "a": "A", "d": {"e": ["deep"]}, "v": [1, 2], "d.x": "dotted"}
    assert spans(record, template=template, tokenizer=ByteTokenizer()) == wanted


@given(before=st.text(max_size=9), value=st.text(min_size=1, max_size=9), inside=st.text(max_size=9))
def test_doubled_characters_stand_for_themselves_and_values_are_never_read_as_templates(before, value, inside):
    def escaped(text):
        return "".join(2 * c if c in "{}[]" else c for c in text)

    template = f"{escaped(before)}[1|{{v}}{escaped(inside)}]"
    joined = [(before, 0.0), (value + inside, 1.0)] if before else [(value + inside, 1.0)]
    record = {"v": value}
    if value.strip():
        assert spans(record, template=template) == joined
    else:
        with pytest.raises(BadRecord, match="is empty"):
            spans(record, template=template)


@pytest.mark.parametrize(
    "template, message",
    [
        ("abc {q", "column 5: '{' is never closed"),
        ("[{q}", r"column 1: '\[' is never closed"),
        ("[a[{q}]]", r"column 3: '\[' inside of brackets"),
        ("{q} ]", r"column 5: '\]' closes nothing"),
        ("[{}]", r"column 3: '' is no field"),
        ("[{a:b:c}]", "is no field"),
        ("[{@eos:text}]", "a marker takes no"),
        ("{q}", "nothing carries loss"),
        ("[hello]", "names no field"),
    ],
)
def test_bad_templates_point_at_the_column(template, message):
    with pytest.raises(ValueError, match=message):
        Records(template=template)
    if "column" in message:
        with pytest.raises(ValueError, match=r"\n  .*\n +\^$"):
            Template(template)


@pytest.mark.parametrize(
    "line, field, problem",
    [
        (b"{broken", "", "not JSON"),
        (b'{"text": "cut off', "", "not JSON"),
        (b"[1]", "", "not an object but a list"),
        (b'{"text": "a", "text": "b"}', "text", "is there twice"),
        (b'{"meta": {"a": 1, "a": 2}, "text": "b"}', "a", "is there twice"),
        (b'{"text": "caf\xe9"}', "", "not UTF-8"),
        (b'{"text": "\\ud83d x"}', "text", "holds half a surrogate pair"),
        (b'{"messages": [{"role": "user", "content": "\\udc00"}]}', "messages[0].content", "holds half a surrogate"),
        (b'{"text": "a\\u0000b"}', "text", "holds a NUL character"),
        (b"\0\0\0\0", "", "NUL bytes"),
        (b'{"text": NaN}', "", "not JSON (NaN)"),
        (b"[" * 100_000, "", "nests too deep"),
        (b'{"text": ' + b"9" * 5000 + b"}", "", "not JSON"),
        (b'{"text": ""}', "", "is empty"),
        (b'{"text": " \\n"}', "", "is empty"),
        (b'{"text": null}', "text", "is null"),
        (b'{"text": 3}', "text", "is a number (3)"),
        (b'{"texts": "x"}', "texts", "is no field of the schema (did you mean 'text'?)"),
        (b'{"text": "x", "meta": 3}', "meta", "is a number"),
        (b'{"text": "x", "schema": 2}', "schema", "is another version"),
        (b'{"text": "x", "question": "y"}', "text", "does not belong beside 'question'"),
        (b'{"question": "q", "answre": "x"}', "answer", "is missing (there is 'answre')"),
        (b'{"question": "q", "answer": ""}', "answer", "is empty"),
        (b'{"pairs": [{"question": "a"}]}', "pairs[0].answer", "is missing"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "messages", "has no answer to learn from"),
        (b'{"messages": [{"role": "bot", "content": "x"}]}', "messages[0].role", "is no role ('bot')"),
        (b'{"messages": [{"from": "human", "value": "x"}]}', "messages[0].role", "is missing"),
        (b'{"image": "gone.png", "text": "x"}', "image", "names no file"),
        (b'{"image": [1.5], "text": "x"}', "image[0]", "is a number (1.5)"),
        (b'{"image": [true], "text": "x"}', "image[0]", "is true or false"),
        (b'{"image": [-1], "text": "x"}', "image[0]", "is out of range"),
        (b'{"image": [99999999999999999999], "text": "x"}', "image[0]", "is out of range"),
        (b'{"image": [[1, 2], [3]], "text": "x"}', "image[1]", "is a frame of another size"),
        (b'{"image": [[1, 8]], "text": "x"}', "image[0][1]", "is out of range (8)"),
        (b'{"image": [1], "captoin": "x"}', "captoin", "is no field of image-text (did you mean 'caption'?)"),
    ],
)
def test_every_fault_names_field_problem_and_fix(line, field, problem):
    with pytest.raises(BadRecord) as found:
        Records(codebook=8).document(record_of(line), "here")
    assert found.value.field == field and found.value.problem.startswith(problem)
    assert found.value.fix and str(found.value.at("a.jsonl", 7)).startswith("a.jsonl:7: ")


def test_frames_need_to_know_where_the_codes_end():
    with pytest.raises(BadRecord, match="give the source `codebook`"):
        spans({"image": FRAMES, "text": "x"}, codebook=None)


def test_a_named_file_becomes_a_span_with_its_path(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"x")
    document = Records(order="text-first").document({"image": "cat.png", "text": "a"}, "", folder=str(tmp_path))
    assert [(s.modality, s.content) for s in document.spans][1] == ("vision", str(tmp_path / "cat.png"))


def test_chosen_fields_take_arrays_as_well_as_lists():
    chosen = (Field("codes", "vision"), Field("q", loss=0.0), "a")
    for codes in ([3, 4], np.asarray([3, 4])):
        assert spans({"codes": codes, "q": "Q", "a": "A"}, fields=chosen) == [([3, 4], 1.0), ("Q", 0.0), ("A", 1.0)]
    with pytest.raises(BadRecord, match="is a number"):
        spans({"codes": np.asarray([0.5]), "q": "Q", "a": "A"}, fields=chosen)


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match="give one"):
        Records(fields=("a",), template="[{a}]")
    with pytest.raises(ValueError, match="give the number of codes"):
        Records(codebook=0)
    with pytest.raises(ValueError, match="{@eos} is a marker, and this source has no tokenizer"):
        Records(template="[{a}{@eos}]")
    with pytest.raises(ValueError, match="{@eso}: the tokenizer has no such marker; it has bos, eos"):
        Records(chat=Chat(user="{content}{@eso}"), tokenizer=ByteTokenizer())
