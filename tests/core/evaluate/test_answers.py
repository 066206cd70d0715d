"""Short answers: the last span counts and nothing else, whatever is beside it in the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords
from lwm_core.data import Document, Documents, Renderer, Span
from lwm_core.evaluate.answers import Answers
from lwm_core.evaluate.base import Subject
from lwm_core.model import TransformerFamily
from lwm_core.text import ByteTokenizer
from lwm_core.vision.squares import CODES, COLOURS, DARK, SquareQuestions
from lwm_core.vocab import Modality, Vocabulary


def scores_of(model, ids):
    """float64 [n, V]: what may follow each of the ids, alone in a row."""
    row = jnp.asarray(ids, jnp.int32)[None]
    return np.asarray(model.logits(model.hidden(row, TokenCoords.of_rows(*row.shape)).states)[0], np.float64)


def test_losses_and_accuracy_are_those_of_the_answers_alone():
    tokenizer = ByteTokenizer()
    vocabulary = Vocabulary((Modality("text", tokenizer.size, tokenizer.markers),))
    family = TransformerFamily(
        vocab_size=vocabulary.size, width=16, layers=1, heads=2, kv_heads=1, ffn=16, init_std=0.5
    )
    model = family.init(key=jax.random.key(0))
    pairs = [("where? ", "sea"), ("a much longer question than that, is it not? ", "no"), ("x", "yes, it is")]
    render = Renderer(vocabulary, tokenizer, begin="text.bos", end=None)
    losses, right = [], []
    documents = []
    for index, (question, answer) in enumerate(pairs):
        if index == 1:  # this one is answered as the model would: greedily
            ids = list(render(Document.of_text(question)).tokens)
            for _ in range(3):
                ids.append(int(scores_of(model, ids)[-1].argmax()))
            answer = np.asarray(ids[-3:], np.int32)
        document = Document((Span("text", question, 0.0), Span("text", answer)))
        documents.append(document)
        row, count = render(document).tokens, len(answer)
        scores, wanted = scores_of(model, row)[-count - 1 : -1], row[-count:]
        losses.append((np.log(np.exp(scores).sum(-1)) - scores[np.arange(count), wanted]).mean())
        right.append((scores.argmax(-1) == wanted).all())
    assert right == [False, True, False]
    found = Answers(Documents(tuple(documents)))(Subject(model, tokenizer, vocabulary)).summary
    np.testing.assert_allclose(found["loss"], np.mean(losses), rtol=1e-5)
    assert found["accuracy"] == pytest.approx(1 / 3) and found["documents"] == 3


@pytest.mark.parametrize("squares", [1, 2])
def test_the_answer_is_the_colour_that_is_asked_for(squares):
    source = SquareQuestions(documents=40, frames=3, squares=squares)
    for index in range(len(source)):
        vision, question, answer = source[index].spans
        frames = vision.content.reshape(3, 17)
        assert frames[:, -1].tolist() == [CODES, CODES, CODES + 1]
        half = {" left?": slice(0, 2), " right?": slice(2, 4), " colour?": slice(0, 4)}[question.content]
        for frame in frames[:, :-1].reshape(3, 4, 4):
            assert set(frame[:, half].ravel()) - set(DARK) == {COLOURS[answer.content.strip()]}
            assert len(set(frame.ravel()) - set(DARK)) == squares
        assert (question.loss, answer.loss) == (0.0, 1.0)
