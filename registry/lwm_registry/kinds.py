"""The kinds of part, and the interface of each, as strings: nothing is imported to read this table.

Owns the kinds that the core has, the order in which `{"use": "auto"}` tries its candidates, and the names of the
objects that the parts of one pipeline share. Plugins add kinds of their own (`lwm_interfaces`); `Catalog.kinds` holds
all of them. It resolves and builds nothing.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """An interface that `catalog().build(kind, ...)` returns, what it is for, and its order under "auto".

    `kit` is the function that checks a part, `"module:function"`; empty for that of the core.
    """

    interface: str
    summary: str
    auto: tuple[str, ...] = ()
    kit: str = ""

    def kit_of(self, name: str) -> str:
        """The kit of this kind, whose name is `name`."""
        return self.kit or f"lwm_core.testing.{name}:check_{name}"


KINDS: dict[str, Kind] = {
    "attention": Kind(
        "lwm_core.attention.base:AbstractAttention",
        "attention over a whole, maybe sharded, sequence",
        ("ring", "local", "dense"),
    ),
    "kernel": Kind(
        "lwm_core.attention.base:AbstractBlockKernel",
        "attention of one block of queries over one block of keys, on one device",
        ("blockwise",),
    ),
    "layout": Kind("lwm_core.layout.base:AbstractLayout", "order of the tokens of a row over shards"),
    "rope": Kind("lwm_core.model.rope:AbstractRope", "rotary position embedding"),
    "text_tokenizer": Kind("lwm_core.text.base:TextTokenizer", "text to ids and back"),
    "vision_tokenizer": Kind("lwm_core.vision.base:AbstractVisionFamily", "frames to discrete codes and back"),
    "source": Kind("lwm_core.data.base:DataSource", "a finite collection of documents"),
    "packer": Kind("lwm_core.data.base:Packer", "samples to rows of one length"),
    "curriculum": Kind("lwm_core.curriculum.stage:Curriculum", "the stages of a run, in order"),
    "model": Kind("lwm_core.model.base:AbstractModelFamily", "the static description of a sequence model"),
    "objective": Kind("lwm_core.objective.base:AbstractObjective", "what training makes small"),
    "optimizer": Kind("lwm_core.train.optimizer:Optimizer", "gradients to updates, for each stage"),
    "sampler": Kind("lwm_core.sample.base:AbstractSampler", "from scores to the next token"),
    "checkpoint": Kind("lwm_core.checkpoint.base:CheckpointFormat", "saves and restores trees of arrays"),
    "evaluator": Kind("lwm_core.evaluate.base:Evaluator", "measures a model"),
    "trainer": Kind("lwm_core.train.trainer:Trainer", "trains something other than a sequence model"),
    "observer": Kind("lwm_core.train.observer:Observer", "hears every event of a run"),
}

# What a part may ask for without a recipe giving it: an option annotated with the interface is filled with the
# pipeline's own object, unless the recipe gives one.
SHARED: dict[str, str] = {
    "tokenizer": KINDS["text_tokenizer"].interface,
    "vision": "lwm_core.vision.base:AbstractVisionTokenizer",
    "vocabulary": "lwm_core.vocab.vocabulary:Vocabulary",
    "attention": KINDS["attention"].interface,
    "rope": KINDS["rope"].interface,
}
