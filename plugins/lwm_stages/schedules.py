"""Published schedules as curricula: which stages, and on which mesh.

Owns the options. The figures are `lwm`'s and `others`'; `figures` says how far each is trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from lwm_core.curriculum import Figure, Stage, check_stages
from lwm_stages.lwm import LWM_TEXT, LWM_TEXT_CHAT, LWM_VISION
from lwm_stages.others import GRADIENT, PROLONG
from lwm_stages.published import Mesh, PublishedStage


TextLength = Literal["32k", "128k", "256k", "512k", "1m"]
ChatLength = Literal["128k", "256k", "512k", "1m"]
VisionStage = Literal["1k", "8k", "chat-32k", "chat-128k", "chat-1m"]
GradientLength = Literal["65k", "262k", "524k", "1048k", "4194k"]
ProLongLength = Literal["64k", "512k"]


@dataclass(frozen=True)
class LWMText:
    """LWM-Text: LLaMA-2 7B on books, the context from 32K to 1M (arXiv 2402.08268 v4, table 11).

    - `first`, `last`: the stages to run, both included;
    - `mesh`: (dp, fsdp, tp, sp) of every stage instead of the published ones.
    """

    first: TextLength = "32k"
    last: TextLength = "1m"
    mesh: Mesh | None = None

    def __post_init__(self):
        self.stages  # noqa: B018  (a wrong option is an error now)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return _stages(_between(LWM_TEXT, "lwm-text-", self.first, self.last), self.mesh)

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]:
        return _figures(_between(LWM_TEXT, "lwm-text-", self.first, self.last))


@dataclass(frozen=True)
class LWMTextChat:
    """LWM-Text-Chat: one stage on the LWM-Text model of the same length (arXiv 2402.08268 v4, table 12).

    Most of its figures are recalled, not confirmed.

    - `length`: of that model; `mesh`: (dp, fsdp, tp, sp) instead of the published one.
    """

    length: ChatLength = "1m"
    mesh: Mesh | None = None

    def __post_init__(self):
        self.stages  # noqa: B018

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return _stages(_between(LWM_TEXT_CHAT, "lwm-text-chat-", self.length, self.length), self.mesh)

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]:
        return _figures(_between(LWM_TEXT_CHAT, "lwm-text-chat-", self.length, self.length))


@dataclass(frozen=True)
class LWMVision:
    """LWM and LWM-Chat: LWM-Text-1M on images, videos and their chats, 1K to 1M (arXiv 2402.08268 v4, table 13).

    - `first`, `last`: the stages to run, both included;
    - `mesh`: (dp, fsdp, tp, sp) of every stage instead of the published ones.
    """

    first: VisionStage = "1k"
    last: VisionStage = "chat-1m"
    mesh: Mesh | None = None

    def __post_init__(self):
        self.stages  # noqa: B018

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return _stages(_between(LWM_VISION, "lwm-", self.first, self.last), self.mesh)

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]:
        return _figures(_between(LWM_VISION, "lwm-", self.first, self.last))


@dataclass(frozen=True)
class Gradient:
    """GradientAI: Llama-3 8B Instruct from 8K to 4M tokens of context on 1.6B tokens.

    - `first`, `last`: the stages to run, both included;
    - `mesh`: (dp, fsdp, tp, sp) of every stage instead of the published ones.
    """

    first: GradientLength = "65k"
    last: GradientLength = "4194k"
    mesh: Mesh | None = None

    def __post_init__(self):
        self.stages  # noqa: B018

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return _stages(_between(GRADIENT, "gradient-", self.first, self.last), self.mesh)

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]:
        return _figures(_between(GRADIENT, "gradient-", self.first, self.last))


@dataclass(frozen=True)
class ProLong:
    """ProLong: Llama-3 8B Instruct on 20B tokens at 64K, then 20B at 512K, long and short mixed (arXiv 2410.02660).

    - `first`, `last`: the stages to run, both included;
    - `mesh`: (dp, fsdp, tp, sp) of every stage instead of the published ones.
    """

    first: ProLongLength = "64k"
    last: ProLongLength = "512k"
    mesh: Mesh | None = None

    def __post_init__(self):
        self.stages  # noqa: B018

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return _stages(_between(PROLONG, "prolong-", self.first, self.last), self.mesh)

    @property
    def figures(self) -> Mapping[str, Mapping[str, Figure[Any]]]:
        return _figures(_between(PROLONG, "prolong-", self.first, self.last))


def _between(schedule: Sequence[PublishedStage], prefix: str, first: str, last: str) -> list[PublishedStage]:
    labels = [published.name.removeprefix(prefix) for published in schedule]
    for label in (first, last):
        if label not in labels:
            raise ValueError(f"No stage {label!r}: give one of {', '.join(labels)}.")
    start, stop = labels.index(first), labels.index(last) + 1
    if stop <= start:
        raise ValueError(f"first={first!r} comes after last={last!r}: the order is {', '.join(labels)}.")
    return list(schedule[start:stop])


def _stages(schedule: Sequence[PublishedStage], mesh: Mesh | None) -> tuple[Stage, ...]:
    return check_stages(published.stage(mesh) for published in schedule)


def _figures(schedule: Sequence[PublishedStage]) -> dict[str, dict[str, Figure[Any]]]:
    return {published.name: published.figures for published in schedule}
