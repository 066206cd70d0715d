"""Chat in LWM's wording: loss on answers and on the end after them, nowhere else."""

from lwm_core.data import Document, Renderer
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary
from lwm_text.chat import chat, prompt


def test_the_wording_is_lwms():
    assert prompt("Hi") == "You are a helpful assistant. USER: Hi ASSISTANT:"
    turns = chat([("Hi", "Hello."), ("Bye", "So long.")])
    assert "".join(span.content for span in turns) == (
        "You are a helpful assistant. USER: Hi ASSISTANT: Hello. USER: Bye ASSISTANT: So long."
    )


def test_only_answers_carry_loss():
    bytes_ = ByteTokenizer()
    render = Renderer(Vocabulary((Modality("text", bytes_.size, bytes_.markers),)), bytes_)
    sample = render(Document(chat([("Hi", "Hello."), ("Bye", "So long.")])))
    assert bytes_.decode(sample.tokens[sample.loss > 0]) == " Hello. So long."
    assert sample.loss[-1] == 1.0 and sample.tokens[-1] == 257
