"""Plain data to parts and back: conversions, nesting, shared objects, and the messages of every refusal."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.attention.base import AbstractAttention, AttentionSite, Support
from lwm_core.attention.coords import Visibility
from lwm_core.layout.base import AbstractLayout
from lwm_core.layout.contiguous import Contiguous
from lwm_core.text import ByteTokenizer, TextTokenizer
from lwm_core.vocab import Modality, Vocabulary
from lwm_registry import Catalog, Component, catalog
from lwm_registry.errors import BadOption, BrokenPlugin, UnknownName
from lwm_registry.located import located, merged


class Mood(enum.Enum):
    CALM = "c"
    LOUD = "l"


@dataclass(frozen=True)
class Inner:
    size: int
    ratio: float = 0.5


@dataclass(frozen=True)
class Everything:
    """A source with an option of every type; `documents` makes it a `DataSource`."""

    number: int
    real: float = 1.0
    flag: bool = False
    text: str = "t"
    file: Path | None = None
    choice: Literal["a", "b", 3] = "a"
    mood: Mood = Mood.CALM
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ()
    names: list[Path] = field(default_factory=list)
    shares: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=lambda: Inner(1))
    inners: tuple[Inner, ...] = ()
    layout: AbstractLayout = field(default_factory=Contiguous)
    layouts: Mapping[str, AbstractLayout] = field(default_factory=dict)
    maybe: AbstractLayout | None = None
    either: str | Path | Inner = "x"
    noted: Annotated[int | None, "a note"] = None
    anything: Any = None

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return index


class Signed:
    """A tokenizer-taking source whose schema is its `__init__`."""

    def __init__(self, tokenizer: TextTokenizer, vocabulary: Vocabulary | None = None, *, size: int = 3):
        self.tokenizer, self.vocabulary, self.size = tokenizer, vocabulary, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index


class Forgetful(Signed):
    def __init__(self, size: int):
        self.other = size

    def __len__(self):
        return 1


def component(kind, name, cls):
    return Component(kind, name, f"{cls.__module__}:{cls.__qualname__}", "For the test.")


PARTS = Catalog(
    [
        *catalog().plugins,
        *Catalog.of(
            component("source", "everything", Everything),
            component("source", "signed", Signed),
            component("source", "forgetful", Forgetful),
        ).plugins,
    ]
)


def everything(**options):
    return PARTS.build("source", {"use": "everything", "number": 1, **options})


plain = st.fixed_dictionaries(
    {"number": st.integers()},
    optional={
        "real": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000),
        "flag": st.booleans(),
        "text": st.text(),
        "file": st.text(st.characters(categories=["L"]), min_size=1) | st.none(),
        "choice": st.sampled_from(["a", "b", 3]),
        "mood": st.sampled_from(["CALM", "LOUD", "l"]),
        "pair": st.tuples(st.integers(), st.integers(0, 5)).map(list),
        "many": st.lists(st.text()),
        "names": st.lists(st.sampled_from(["p", "q/r"])),
        "shares": st.dictionaries(st.text(), st.integers(0, 9)),
        "inner": st.fixed_dictionaries({"size": st.integers()}, optional={"ratio": st.integers(0, 9)}),
        "inners": st.lists(st.fixed_dictionaries({"size": st.integers()})),
        "layout": st.sampled_from(["contiguous", {"use": "contiguous"}, {"use": "core:contiguous"}]),
        "layouts": st.dictionaries(st.text(), st.just("contiguous")),
        "maybe": st.sampled_from([None, "contiguous"]),
        "either": st.sampled_from(["text", {"size": 4}]),
        "noted": st.none() | st.integers(),
    },
)


@settings(deadline=None)  # the first example imports
@given(plain)
def test_data_builds_a_part_that_turns_back_into_the_same_data(options):
    part = everything(**options)
    data = PARTS.data(part)
    again = PARTS.build("source", json.loads(json.dumps(data)))
    assert again == part
    assert PARTS.data(again) == data


def test_what_is_built_has_the_annotated_types():
    part = everything(
        real=2,
        file="f",
        pair=[1, 2],
        many=["x"],
        names=["p"],
        shares={"a": 1},
        inner={"size": 2},
        layouts={"l": "contiguous"},
    )
    assert isinstance(part.real, float) and part.file == Path("f") and part.pair == (1, 2.0)
    assert isinstance(part.pair[1], float) and part.many == ("x",) and part.names == [Path("p")]
    assert isinstance(part.shares["a"], float) and part.inner == Inner(2) and part.layouts == {"l": Contiguous()}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"number": "3"}, ("source.number = '3' is text", "must be int")),
        ({"number": True}, ("source.number = True is true or false", "must be int")),
        ({"number": 1.5}, ("1.5 is of type float", "must be int")),
        ({"real": "x"}, ("source.real", "must be float")),
        ({"flag": 1}, ("must be true or false",)),
        ({"text": 3}, ("must be text",)),
        ({"file": 3}, ("must be path",)),
        ({"choice": "c"}, ("one of 'a', 'b', 3",)),
        ({"choice": True}, ("one of 'a', 'b', 3",)),
        ({"mood": "angry"}, ("CALM, LOUD",)),
        ({"pair": [1]}, ("list of 2 int and float",)),
        ({"many": "x"}, ("list of text",)),
        ({"many": ["x", 3]}, ("source.many[1] = 3",)),
        ({"shares": {"a": "b"}}, ("source.shares.a = 'b'", "float")),
        ({"inner": {"size": 1, "ration": 2}}, ("source.inner", "'ration'", "Did you mean 'ratio'?", "ratio, size")),
        ({"inner": {}}, ("source.inner", "needs the option 'size'")),
        ({"inners": [{"size": 1}, {"size": "x"}]}, ("source.inners[1].size",)),
        ({"layout": 3}, ("must be layout part", "contiguous")),
        ({"layout": {"axis": "sp"}}, ("add use = NAME", "contiguous")),
        ({"maybe": "contigous"}, ("no layout 'contigous'", "Did you mean 'contiguous'?")),
        ({"either": {"siz": 4}}, ("source.either", "Did you mean 'size'?")),
        ({"either": 4}, ("text or path or Inner",)),
        ({"anything": {"use": "x"}}, ("source.anything", "cannot say which kind")),
    ],
)
def test_a_refusal_names_the_option_the_value_and_what_is_allowed(options, words):
    with pytest.raises(ValueError) as error:
        everything(**options)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_unknown_and_missing_options_of_a_part():
    with pytest.raises(UnknownName, match=r"source 'everything' has no option 'reel'\. Did you mean 'real'\? .*flag"):
        everything(reel=1.0)
    with pytest.raises(BadOption, match=r"needs the option 'number' \(int\)"):
        PARTS.build("source", "everything")


def test_what_a_part_itself_refuses_keeps_its_words_and_gains_a_place():
    with pytest.raises(BadOption, match=r"objective\.rule: Visibility\(window=0\).*positive"):
        catalog().build("objective", {"use": "cross-entropy", "rule": {"window": 0}})


def test_a_finished_part_passes_through_and_a_stranger_does_not():
    layout = Contiguous()
    assert catalog().build("layout", layout) is layout
    assert everything(layout=layout).layout is layout
    with pytest.raises(BrokenPlugin, match="not a layout"):
        catalog().build("layout", ByteTokenizer())


@pytest.mark.parametrize("given", [None, 3, ["dense"]])
def test_what_can_be_no_part_is_told_how_to_write_one(given):
    with pytest.raises(BadOption, match=r"is no attention: give a name, or a table with use = NAME\. Names: .*dense"):
        catalog().build("attention", given)


def test_options_that_are_not_given_are_filled_from_what_is_shared():
    tokenizer, vocabulary = ByteTokenizer(), Vocabulary((Modality("text", 258),))
    part = PARTS.build("source", "signed", tokenizer=tokenizer, vocabulary=vocabulary, size=9)
    assert (part.tokenizer, part.vocabulary, part.size) == (tokenizer, vocabulary, 9)
    given = PARTS.build("source", {"use": "signed", "size": 4}, tokenizer=tokenizer, size=9)
    assert given.size == 4 and given.vocabulary is None
    assert PARTS.data(part, tokenizer=tokenizer, vocabulary=vocabulary) == {"use": "signed", "size": 9}
    with pytest.raises(BadOption, match=r"'tokenizer' \(text_tokenizer part\)\. Give one of .*bytes"):
        PARTS.build("source", "signed")
    with pytest.raises(UnknownName, match="shared 'tokeniser'.*Did you mean 'tokenizer'"):
        PARTS.build("source", "signed", tokeniser=tokenizer)


def test_an_option_that_is_not_kept_cannot_be_written():
    with pytest.raises(BadOption, match="Forgetful does not keep its option 'size'"):
        PARTS.data(PARTS.build("source", {"use": "forgetful", "size": 2}))
    with pytest.raises(BadOption, match="no plugin offers"):
        PARTS.data(object())


def test_relative_paths_start_where_they_were_written(tmp_path):
    spec = located({"use": "everything", "number": 1, "file": "a/b.txt", "text": "a/b.txt"}, tmp_path)
    part = PARTS.build("source", spec)
    assert part.file == tmp_path / "a/b.txt"
    assert part.text == "a/b.txt" and type(part.text) is str


def test_a_new_use_keeps_the_options_that_the_new_part_has_too():
    under = {"use": "everything", "number": 3, "size": 7, "text": "kept?"}
    part = PARTS.build("source", merged(under, {"use": "signed", "tokenizer": "bytes"}))
    assert part.size == 7
    with pytest.raises(UnknownName, match="no option 'text'"):
        PARTS.build("source", merged(under, {"use": "signed", "tokenizer": "bytes", "text": "given"}))
    with pytest.raises(UnknownName, match="no option 'size'"):
        PARTS.build("source", merged(under, {"number": 4}))


class Picky(AbstractAttention):
    layout: AbstractLayout = Contiguous()

    def supports(self, site):
        return Support(site.q_length > 100, "rows here are short.")

    def __call__(self, q, k, v, *, q_at, kv_at, rule):
        return q


def test_auto_takes_the_first_that_accepts_and_says_why_not_the_others(capsys):
    parts = Catalog([*catalog().plugins, *Catalog.of(component("attention", "picky", Picky)).plugins])
    site = AttentionSite(1, 64, 64, 2, 2, 8, "float32", Visibility(), {}, "cpu")
    spec = {"use": "auto", "order": ["absent", "picky", "dense"]}
    chosen = parts.build("attention", spec, site=site)
    assert parts.data(chosen)["use"] == "dense"
    told = capsys.readouterr().err
    assert "not absent: There is no attention 'absent'" in told
    assert "not picky: rows here are short." in told
    assert "chose dense" in told
    assert isinstance(parts.build("attention", spec, site=site._replace(q_length=200)), Picky)
    with pytest.raises(BadOption, match="no candidate.*rows here are short"):
        parts.build("attention", {"use": "auto", "order": ["picky"]}, site=site)
    with pytest.raises(BadOption, match="layout has no automatic choice"):
        parts.build("layout", "auto")
