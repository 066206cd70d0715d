"""Chat: LWM's wording by default, any other by template; loss on answers and on the end after them, nowhere else."""

import numpy as np
import pytest

from lwm_core.data import Chat, Document, Message, Renderer
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


TURNS = [
    Message.of("user", "Hi"),
    Message.of("assistant", "Hello."),
    Message.of("user", "Bye"),
    Message.of("assistant", "So long."),
]
CHATML = Chat(
    system="<|im_start|>system\n{content}<|im_end|>\n",
    user="<|im_start|>user\n{content}<|im_end|>\n",
    assistant="<|im_start|>assistant\n[{content}<|im_end|>]\n",
    opening="",
)


def said(spans):
    return "".join(span.content for span in spans)


def test_the_wording_is_lwms():
    assert said(Chat().spans(TURNS)) == (
        "You are a helpful assistant. USER: Hi ASSISTANT: Hello. USER: Bye ASSISTANT: So long."
    )
    assert said(Chat().prompt(TURNS[:1])) == "You are a helpful assistant. USER: Hi ASSISTANT:"
    assert said(Chat(opening="").spans(TURNS[:2])) == "USER: Hi ASSISTANT: Hello."
    told = [Message.of("system", "Answer in French."), *TURNS[:1]]
    assert said(Chat().prompt(told)) == "Answer in French. USER: Hi ASSISTANT:"


def test_only_answers_carry_loss():
    bytes_ = ByteTokenizer()
    render = Renderer(Vocabulary((Modality("text", bytes_.size, bytes_.markers),)), bytes_)
    sample = render(Document(Chat().spans(TURNS)))
    assert sample is not None
    assert bytes_.decode(sample.tokens[sample.loss > 0]) == " Hello. So long."
    assert sample.loss[-1] == 1.0 and sample.tokens[-1] == 257


def test_another_wording_and_weights_of_single_messages():
    spans = CHATML.spans([*TURNS[:2], TURNS[2], TURNS[3]._replace(weight=0.0)])
    assert said(s for s in spans if s.loss) == "Hello.<|im_end|>"
    assert said(spans).startswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>"
    )
    assert said(CHATML.prompt(TURNS[:1])).endswith("<|im_start|>assistant\n")


def test_markers_stand_where_the_template_puts_them():
    chat = Chat(assistant=" ASSISTANT:[ {content}{@eos}]")
    spans = chat.spans(TURNS[:2], lambda name: np.asarray([ByteTokenizer().markers[name]], np.int32))
    assert (spans[-1].loss, spans[-1].content) == (1.0, [257])
    with pytest.raises(ValueError, match="{@eos} is a marker, and this source has no tokenizer"):
        chat.spans(TURNS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"user": "USER: {contents}"}, r"chat.user .* the field \{content\} alone"),
        ({"assistant": " ASSISTANT: {content}"}, "nothing carries loss"),
        ({"assistant": " ASSISTANT:[ {content}"}, "column 12: '\\[' is never closed"),
    ],
)
def test_templates_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Chat(**options)
