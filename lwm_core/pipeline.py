"""A pipeline: a frozen record of parts that trains, samples and evaluates.

Owns the composition and nothing of the parts. It is plain Python: recipes build one by name, programs build
one by hand, and either can replace any field with `dataclasses.replace`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax

from lwm_core.checkpoint import CheckpointError, CheckpointFormat, Manifest, MisfitError, SafetensorsCheckpoint
from lwm_core.checkpoint.advice import advised
from lwm_core.curriculum import Curriculum, Stage
from lwm_core.data import DataSource, Packer, Renderer
from lwm_core.evaluate.base import Evaluation, Evaluator, Subject
from lwm_core.mesh import Rules, made
from lwm_core.model.base import AbstractModelFamily, AbstractSequenceModel
from lwm_core.objective import AbstractObjective, CrossEntropy, NamesModalities
from lwm_core.plan import Training, check_fits
from lwm_core.sample import AbstractSampler, Greedy
from lwm_core.sample.text import generate_text
from lwm_core.text import TextTokenizer
from lwm_core.train.guard import Guard
from lwm_core.train.observer import Observer
from lwm_core.train.optimizer import AdamW, Optimizer
from lwm_core.train.run import train as run
from lwm_core.train.stopping import Stop
from lwm_core.train.weights import with_theta
from lwm_core.vision import AbstractVisionTokenizer, vision_modality
from lwm_core.vocab import Modality, Vocabulary


@dataclass(frozen=True)
class Pipeline:
    """Parts of one run. `family` and `tokenizer` are enough to sample; training needs the data parts too.

    - `modalities`: id ranges beyond text and vision, for modality plugins;
    - `weights`: a checkpoint, or a directory of them, to start from; None starts fresh from `seed`;
    - `save_every`: steps between checkpoints, besides the one at each stage's end; 0 for none;
    - `placement`: a pattern of weights' paths → their logical axes, where they are to lie otherwise than their fields
      declare: `{"blocks.ffn.*": ("embed", "ffn")}`;
    - `guard`: what is done about steps whose loss is not finite or jumps; None trains on;
    - `recipe`, `plugins`, `fingerprint`: what this was composed from, as plain data; kept in checkpoints;
    - `sign`: gives a pipeline the recipe of its parts as they are now; a new run is signed, so that a part swapped
      by object is written down too. None leaves the recipe as it is.
    """

    family: AbstractModelFamily
    tokenizer: TextTokenizer
    curriculum: Curriculum | None = None
    sources: Mapping[str, DataSource] = field(default_factory=dict)
    packer: Packer | None = None
    vision: AbstractVisionTokenizer | None = None
    modalities: tuple[Modality, ...] = ()
    objective: AbstractObjective = field(default_factory=CrossEntropy)
    optimizer: Optimizer = field(default_factory=AdamW)
    guard: Guard | None = None
    sampler: AbstractSampler = field(default_factory=Greedy)
    checkpoint: CheckpointFormat = field(default_factory=SafetensorsCheckpoint)
    evaluators: Mapping[str, Evaluator] = field(default_factory=dict)
    observers: tuple[Observer, ...] = ()
    weights: Path | None = None
    save_every: int = 0
    seed: int = 0
    placement: Rules = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    sign: Callable[["Pipeline"], "Pipeline"] | None = None

    def __post_init__(self):
        if self.save_every < 0:
            raise ValueError(f"save_every={self.save_every}: give a number of steps, or 0 for stages' ends only.")
        if isinstance(self.objective, NamesModalities):
            have = ("text", *self._others)
            for name in self.objective.modalities_named():
                if name not in have:
                    raise ValueError(f"The objective names modality {name!r}; this pipeline has {', '.join(have)}.")

    @cached_property
    def model(self) -> AbstractSequenceModel:
        """The model: restored from `weights`, or fresh from `seed`."""
        return self.begun()[0]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The id space of `model`: the one its weights were saved with, or that of the first stage."""
        if self.weights is not None:
            return Vocabulary.of_data(self.checkpoint.manifest(self._checkpoint).vocabulary)
        if self.curriculum is not None:
            return self.vocabulary_for(self.curriculum.stages[0])
        return Vocabulary((self._text, *self._others.values()))

    def begun(self) -> tuple[AbstractSequenceModel, Vocabulary]:
        """What a new run starts from: arrays of its own, since training consumes them."""
        if self.weights is not None:
            return self.restored(self._checkpoint), self.vocabulary
        family, key = self._family(self.vocabulary.size), jax.random.key(self.seed)
        return made(lambda key: family.init(key=key), key, rules=self.placement), self.vocabulary

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages to train through; raises `ValueError` when there is no curriculum."""
        if self.curriculum is None:
            raise ValueError("This pipeline cannot train: it has no curriculum.")
        return self.curriculum.stages

    def packer_for(self, stage: Stage) -> Packer:
        """The packer, for rows of the stage's length."""
        if self.packer is None:
            raise ValueError("This pipeline cannot train: it has no packer.")
        return replace(cast(Any, self.packer), length=stage.sequence_length)

    def vocabulary_for(self, stage: Stage) -> Vocabulary:
        """The id space during a stage: text, then the modalities it names, in its order."""
        names = [name for name in stage.modalities if name != "text"]
        unknown = [name for name in names if name not in self._others]
        if unknown:
            have = ", ".join(("text", *self._others))
            raise ValueError(f"Stage {stage.name!r} needs modality {unknown[0]!r}; this pipeline has {have}.")
        return Vocabulary((self._text, *(self._others[name] for name in names)))

    def train(self, out: str | Path, *, until: str | None = None, stop: Stop | None = None) -> "Pipeline":
        """Trains through the curriculum into directory `out`, to its end or to the end of stage `until`.

        Returns this pipeline with the trained weights. `out/checkpoints` holds the state after every stage. When `stop`
        is asked, the run saves after the step under way and raises `Stopped`.
        """
        signed = self if self.sign is None else self.sign(self)
        return signed._ran(Path(out), until, stop, resume=False)

    def resume(self, out: str | Path, *, until: str | None = None, stop: Stop | None = None) -> "Pipeline":
        """Goes on from the newest checkpoint in `out`; bit for bit as if it had never stopped."""
        return self._ran(Path(out), until, stop, resume=True)

    def sample(self, prompt: str, *, tokens: int = 64, seed: int = 0) -> str:
        """The text that the model writes after `prompt`, at most `tokens` tokens."""
        key = jax.random.key(seed)
        return generate_text(self.subject, prompt, tokens=tokens, sampler=self.sampler, key=key)

    def evaluate(self) -> dict[str, Evaluation]:
        """Every evaluator's measurement of the model, by the evaluator's name in this pipeline."""
        return {name: evaluator(self.subject) for name, evaluator in self.evaluators.items()}

    @property
    def subject(self) -> Subject:
        """The model with what is needed to write to it."""
        return Subject(self.model, self.tokenizer, self.vocabulary)

    def save(self, root: str | Path) -> Path:
        """Writes the weights alone as a checkpoint under `root`, for other recipes to start from; returns its path.

        It holds no recipe and no path, so it can be given away.
        """
        manifest = Manifest(0, "", 0, self.model.rope.theta, self.vocabulary.data(), plugins=self.plugins)
        return self.checkpoint.save(Path(root), {"model": eqx.filter(self.model, eqx.is_array)}, manifest).result()

    def restored(self, path: Path, where: Callable[[Any], Any] | None = None) -> AbstractSequenceModel:
        """The model in checkpoint `path`, with the id space and the rotary base it was saved with.

        - `where`: gives a tree of `ShapeDtypeStruct`s their shardings, and each device reads its own pieces into them,
          as `partial(lwm_core.mesh.outlined, mesh=mesh)` does; None puts it all on the default device.
        """
        manifest = self.checkpoint.manifest(path)
        family = self._family(Vocabulary.of_data(manifest.vocabulary).size)
        like = eqx.filter_eval_shape(family.init, key=jax.random.key(0))
        arrays, rest = eqx.partition(like, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
        try:
            found = self.checkpoint.restore(path, "model", arrays if where is None else where(arrays))
        except MisfitError as error:
            raise advised(error, path, manifest.recipe, self.recipe) from error
        return with_theta(eqx.combine(found, rest), manifest.rope_theta)

    def renderer(self, vocabulary: Vocabulary) -> Renderer:
        """How this pipeline's documents become samples of `vocabulary`: each between its begin and end markers."""
        return Renderer(vocabulary, self.tokenizer, begin="text.bos", end="text.eos")

    def _ran(self, out: Path, until: str | None, stop: Stop | None, *, resume: bool) -> "Pipeline":
        for stage in self.stages:
            self._check_fits(stage)
            if stage.name == until:
                break
        run(self, out, until=until, resume=resume, stop=stop)
        return replace(self, weights=out / "checkpoints")

    def _check_fits(self, stage: Stage) -> None:
        """Raises `DoesNotFit` for a stage that this machine cannot hold, before a weight is made."""
        vocabulary = self.vocabulary_for(stage)
        family = self._family(vocabulary.size)
        work = Training(family, stage, vocabulary, self.objective, self.optimizer, self.placement)
        check_fits(work, jax.devices())

    @property
    def _checkpoint(self) -> Path:
        if self.weights is None:
            raise CheckpointError("This pipeline has no weights on disk: train it, or give it `weights`.")
        path = Path(self.weights)
        found = path if (path / "manifest.json").exists() else self.checkpoint.latest(path)
        if found is None:
            raise CheckpointError(f"{path} holds no checkpoint: give a directory made by training or by `save`.")
        return found

    @property
    def _text(self) -> Modality:
        return Modality("text", self.tokenizer.size, self.tokenizer.markers)

    @property
    def _others(self) -> dict[str, Modality]:
        vision = () if self.vision is None else (vision_modality(self.vision),)
        return {modality.name: modality for modality in (*vision, *self.modalities)}

    def _family(self, vocab_size: int) -> AbstractModelFamily:
        return replace(self.family, vocab_size=vocab_size)
