"""`lwm describe`: the options of a part, the stages of a recipe, or what a kind of part must do.

Owns what is said and how; the facts come from the catalog and from the classes themselves.
"""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table
from lwm_registry.errors import RegistryError, UnknownName, did_you_mean, listed
from lwm_registry.located import bare
from lwm_registry.plain import Plain
from lwm_registry.recipes import read
from lwm_registry.records import Record
from lwm_registry.schema import Option, options_of, spell


STAGE = (
    "name", "sequence_length", "rope_theta", "tokens_per_batch", "total_tokens", "steps", "warmup_steps",
    "learning_rate", "min_learning_rate", "schedule", "mesh", "mixture", "modalities",
)  # fmt: skip


def describe(
    name: Annotated[str | None, typer.Argument(help="A part, a kind, a recipe, or a recipe's file.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Of which kind, where several have it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The description as JSON.")] = False,
) -> None:
    """Show a part's options, a recipe's stages, or what a kind of part must do; without NAME, what there is.

    Example: lwm describe tiny-text
    """
    if name is None:
        _overview(as_json)
        return
    if name in catalog().kinds and kind is None:
        _kind(name, as_json)
        return
    kinds = [k for k in ([kind] if kind else catalog().kinds) if catalog().named(k, name)]
    if kind is None and _is_recipe(name):
        if kinds:
            print(f"lwm: {name!r} is also a part: add --kind with one of {listed(kinds)}.", file=sys.stderr)
        _recipe(name, as_json)
    else:
        _part(catalog().find(_only(name, kinds, kind), name), as_json)


def _is_recipe(name: str) -> bool:
    recipes = [recipe.name for _, recipe in catalog().recipes()]
    return name.rpartition(":")[2] in recipes or name.endswith((".toml", ".json"))


def _only(name: str, kinds: list[str], asked: str | None) -> str:
    """The one kind that has a part of this name, or the kind that was asked for."""
    if asked is not None:
        return asked
    if len(kinds) > 1:
        raise RegistryError(f"{name!r} is of several kinds: add --kind with one of {listed(kinds)}.")
    if not kinds:
        parts = [record.name for record in catalog().list() if record.state == "ok"]
        recipes = [recipe.name for _, recipe in catalog().recipes()]
        raise UnknownName(
            f"There is no part, kind or recipe {name!r}.{did_you_mean(name, [*parts, *recipes, *catalog().kinds])} "
            f"`lwm plugins` lists the parts; the recipes are {listed(recipes)}."
        )
    return kinds[0]


def _overview(as_json: bool) -> None:
    kinds = {
        kind: {"summary": entry.summary, "names": catalog().names(kind)} for kind, entry in catalog().kinds.items()
    }
    recipes = {recipe.name: recipe.summary for _, recipe in catalog().recipes()}
    if as_json:
        print_json({"kinds": kinds, "recipes": recipes})
        return
    rows = [(kind, entry["summary"], ", ".join(entry["names"])) for kind, entry in kinds.items()]
    print_table(("kind", "what it is", "names"), rows)
    print_table(("recipe", "what it does"), recipes.items())


def _kind(name: str, as_json: bool) -> None:
    interface, entry = catalog().interface(name), catalog().kinds[name]
    members = {m: str(inspect.signature(f)) for m, f in vars(interface).items() if _is_asked(m, f)}
    facts = {"kind": name, "summary": entry.summary, "interface": entry.interface}
    facts |= {"help": inspect.getdoc(interface) or "", "members": members, "names": catalog().names(name)}
    if as_json:
        print_json({**facts, "kit": entry.kit_of(name)})
        return
    print(f"{name}: {facts['summary']}. Interface {facts['interface']}:\n\n{facts['help']}\n")
    for member, signature in members.items():
        print(f"  {member}{signature}")
    print(f"\nInstalled: {listed(facts['names'])}. Kit: {entry.kit_of(name)}")


def _is_asked(name: str, member: Any) -> bool:
    public = not name.startswith("_") or name in ("__call__", "__len__", "__getitem__")
    return public and inspect.isfunction(member)


def _part(record: Record, as_json: bool) -> None:
    cls = catalog().target(record)
    options = [_option(option) for option in options_of(cls).values()]
    names = ("kind", "name", "plugin", "distribution", "version", "summary", "target")
    facts = {name: getattr(record, name) for name in names}
    facts |= {"options": options, "example": record.example or {}, "help": cls.__doc__ or ""}
    if as_json:
        print_json(facts)
        return
    print(f"{record.kind} {record.name} ({record.origin}): {record.summary}\n\n{inspect.cleandoc(facts['help'])}\n")
    print_table(("option", "type", "default"), [(o["name"], o["type"], _default(o)) for o in options])
    print(f"example: {{'use': {record.name!r}{_inside(record.example or {})}}}")


def _option(option: Option) -> dict[str, Any]:
    fact = {"name": option.name, "type": spell(option.annotation), "required": option.required}
    default = None if option.required else Plain(catalog(), lenient=True).write(option.value, option.name)
    return {**fact, "default": default}


def _default(option: Mapping[str, Any]) -> str:
    return "must be given" if option["required"] else repr(option["default"])


def _inside(example: Mapping[str, Any]) -> str:
    return "".join(f", {key!r}: {value!r}" for key, value in example.items())


def _recipe(name: str, as_json: bool) -> None:
    tables = read(name, catalog())
    stages = _stages(tables)
    if as_json:
        summary = str(tables.get("summary", ""))
        print_json({"name": name, "summary": summary, "stages": stages, "recipe": bare(tables)})
        return
    print(f"recipe {name}: {tables.get('summary', '')}\n")
    uses = [(table, _use(spec)) for table, spec in tables.items() if table not in ("summary", "modality")]
    print_table(("table", "part"), uses)
    print_table(STAGE, [[_cell(stage[column]) for column in STAGE] for stage in stages], "stages")
    figures = [(stage["name"], name, figure) for stage in stages for name, figure in stage.get("figures", {}).items()]
    gates = [(stage["name"], *_gate(gate)) for stage in stages for gate in stage.get("gates", {}).get("gates", ())]
    if gates:
        print_table(("stage", "gate", "must be", "or else"), gates, "gates: a stage is over when all of its own hold")
        for stage in stages:
            if "gates" in stage:
                print(f"{stage['name']}: {_tries(stage['gates'])}")
    said = [(s, name, f) for s, name, f in figures if name not in STAGE or f["trust"] != "confirmed" or f["note"]]
    if said:
        rows = [(s, name, _cell(f["value"]), f["trust"], f["note"]) for s, name, f in said]
        print_table(("stage", "figure", "published", "trust", "note"), rows, "what the source says")


def _stages(tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "curriculum" not in tables:
        return []
    from lwm_core.curriculum import Gated, GatedCurriculum, Published
    from lwm_registry.building import Builder

    curriculum = Builder(catalog()).part("curriculum", tables["curriculum"], "curriculum")
    stages = [{name: _plain(getattr(stage, name)) for name in STAGE} for stage in curriculum.stages]
    published = curriculum.schedule if isinstance(curriculum, GatedCurriculum) else curriculum
    for stage in stages:
        if isinstance(published, Published):
            stage["figures"] = {name: _figure(figure) for name, figure in published.figures[stage["name"]].items()}
        if isinstance(curriculum, Gated) and curriculum.gates_of(stage["name"]):
            entry = curriculum.entry(stage["name"]) if isinstance(curriculum, GatedCurriculum) else None
            stage["gates"] = (
                asdict(entry) if entry else {"gates": list(map(asdict, curriculum.gates_of(stage["name"])))}
            )
    return stages


def _gate(gate: Mapping[str, Any]) -> tuple[str, str, str]:
    """A gate's name, its bounds and what happens when it is missed, in words."""
    bounds = [f"{side.replace('_', ' ')} {gate[side]:g}" for side in ("at_least", "at_most") if gate[side] is not None]
    if gate["within"] is not None:
        slack, worse = gate["within"], "above" if gate["better"] == "lower" else "below"
        bounds.append(
            f"{slack:g} {worse} before at most" if slack >= 0 else f"better than before by {-slack:g} at least"
        )
    return f"{gate['evaluator']}.{gate['measure']}", " and ".join(bounds), gate["miss"]


def _tries(entry: Mapping[str, Any]) -> str:
    """How often a gated stage is tried, in words."""
    if "extensions" not in entry:
        return "as its curriculum decides"
    changes = ", ".join(
        f"{name} x {value:g}" for name, value in entry["retry"].items() if name != "reseed" and value != 1
    )
    changes += ", data in another order" if entry["retry"]["reseed"] else ""
    extended = f"extended {entry['extensions']} times by {entry['extend_steps']} steps" if entry["extensions"] else ""
    rolled = f"rolled back {entry['roll_backs']} times with {changes}" if entry["roll_backs"] else ""
    return f"{', '.join(filter(None, (extended, rolled))) or 'tried once'}; then: {entry['otherwise']}"


def _figure(figure: Any) -> dict[str, Any]:
    return {"value": _plain(figure.value), "trust": figure.trust, "note": figure.note}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _use(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        return str(spec)
    if "use" in spec:
        return str(spec["use"])
    inner = [f"{name}: {_use(item)}" for name, item in spec.items() if isinstance(item, Mapping)]
    return ", ".join(inner) or ", ".join(f"{key} {value}" for key, value in spec.items())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:g}" for name, share in value.items())
    if isinstance(value, list):
        return " ".join("none" if item is None else str(item) for item in value)
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
