"""The words around a prompt and a question are those of the sources that trained the model."""

from dataclasses import dataclass

import numpy as np
import pytest

from lwm_core.data.chat import Chat
from lwm_core.data.documents import Documents
from lwm_core.data.records import Field
from lwm_core.data.wording import pair_spans
from lwm_core.sample import Wording, wording_of
from lwm_core.vision.documents import chat_spans


IDS = np.arange(3)


@dataclass
class Vision:
    form: str = "pair"
    system: str = "Hello."
    vision: None = None


@dataclass
class Lines:
    fields: tuple = ()
    template: str = ""
    chat: Chat = Chat()


def said(spans):
    return [span.content if isinstance(span.content, str) else span.content.tolist() for span in spans]


@pytest.mark.parametrize("form", ["pair", "chat"])
def test_a_prompt_reads_as_the_training_document_did(form):
    wording = wording_of({"clips": Vision(form)})
    for frames in (1, 4):
        if form == "pair":
            (text, _, _) = pair_spans("a cat", IDS, text_first=True)
        else:
            (text, _, _) = chat_spans("a cat", IDS, frames=frames, text_first=True, system="Hello.")
        assert wording.drawing("a cat", frames) == text.content
    assert (wording.form, wording.source) == (form, "clips") and wording.unprompted == "<vision>"


def test_a_question_reads_as_lwms_vision_chat_and_goes_on_in_turns():
    wording = Wording()
    first = said(wording.asking("What?", IDS, first=True))
    assert first == ["You are a helpful assistant. USER: What?\n<vision>", [0, 1, 2], "</vision> ASSISTANT:"]
    assert said(wording.asking("And?", None, first=False)) == [" USER: And? ASSISTANT:"]
    assert said(wording.asking("Hi", None, first=True)) == ["You are a helpful assistant. USER: Hi ASSISTANT:"]
    assert wording.stops == (" USER:",)


def test_pairs_and_templates_put_the_question_where_training_had_it():
    pair = Wording("pair")
    assert said(pair.asking("What?", IDS, first=True)) == ["<vision>", [0, 1, 2], "</vision> What?"]
    assert said(pair.asking("And?", None, first=False)) == [" And?"]
    wording = wording_of({"l": Lines(template="{video:vision}\nQ: {question}\nA:[ {answer}]\n")}, purpose="ask")
    assert said(wording.asking("What?", IDS, first=True)) == [[0, 1, 2], "\nQ: What?\nA: "]
    assert wording.stops == ()
    drawn = wording_of({"l": Lines(fields=("caption", Field("frames", "vision")))})
    assert drawn.drawing("a cat", 1) == "a cat" and drawn.unprompted == ""


def test_which_source_is_asked():
    sources = {"book": Documents(()), "pairs": Vision("pair"), "talk": Vision("chat"), "lines": Lines()}
    assert wording_of(sources).source == "pairs"
    assert wording_of(sources, ["book", "talk"]).source == "talk"
    assert wording_of(sources, ["pairs"], purpose="ask").source == "talk"
    captions = {"c": Lines(fields=("caption", Field("frames", "vision")))}
    assert wording_of(captions, purpose="ask") == Wording() and wording_of({}) == Wording()
    assert wording_of({"lines": Lines()}, purpose="ask").form == "chat"


def test_bad_wordings_say_what_to_write():
    with pytest.raises(ValueError, match="give both or neither"):
        Wording("pair", template="{q}")
    with pytest.raises(ValueError, match="takes no prompt"):
        Wording("template", template="{f:vision}[{answer}]").drawing("a", 1)
    with pytest.raises(ValueError, match="takes no question"):
        Wording("template", template="{f:vision}[{answer}]").asking("a", IDS, first=True)
    with pytest.raises(ValueError, match="without markers"):
        Wording("template", template="{q}{f:vision}[{a}{@eos}]").drawing("a", 1)
