"""`lwm bench attention`: parts of the catalog and their peers, measured side by side.

Owns the choice of contenders and how results are shown and kept; measuring is `lwm_core.bench`'s. Each case gets a
process of its own: splitting a CPU into devices changes how it runs one, and a crash costs one case.
"""

import importlib.util
import json
import multiprocessing
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import print_json, print_table, simulate
from lwm_registry.errors import RegistryError, UnknownName, did_you_mean, listed


Found = dict[str, list[dict[str, Any]]]


def attention(
    case: Annotated[list[str] | None, typer.Option("--case", help="A case's name; all by default.")] = None,
    backend: Annotated[
        list[str] | None, typer.Option("--backend", help="An attention, attention/kernel or peer; all by default.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds; medians are reported.")] = 5,
    length: Annotated[int | None, typer.Option("--length", min=1, help="Tokens per row, instead of a case's.")] = None,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Spread rows over so many devices, simulated on a CPU.")
    ] = None,
    limit: Annotated[float, typer.Option("--limit", min=1, help="Seconds that one case may take.")] = 900,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the JSON, the table and a plot.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
) -> None:
    """Measure every attention and every installed peer in turns: time, work, memory and bytes on the wire.

    Cases: causal-8k, causal-16k, documents-8, documents-32, mixture, window, grouped, ring-4, ring-8,
    ring-4-grouped, ring-4-documents-8, ring-4-mixture.

    Example: lwm bench attention --case ring-4 --backend ring --backend ringattention --length 4096
    """
    from lwm_core.bench.report import drawn, facts, markdown

    cases = [one.at(length, devices) for one in _cases(case)]
    names = _backends(backend)
    found = _measured(cases, names, repeats, limit)
    result = {"run": facts(shlex.join(["lwm", *sys.argv[1:]]), names), **found}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "attention.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        (out / "attention.md").write_text(markdown(result), "utf-8")
        _told(f"no plot: {lacking}" if (lacking := drawn(found["records"], out / "attention.png")) else f"wrote {out}")
    if as_json:
        print_json(result)
        return
    _print(result)


def _cases(names: Iterable[str] | None) -> list:
    from lwm_core.bench import CASES

    names = list(names or CASES)
    for name in names:
        if name not in CASES:
            raise UnknownName(
                f"There is no case {name!r}.{did_you_mean(name, CASES)} The cases are {', '.join(CASES)}."
            )
    return [CASES[name] for name in names]


def _backends(names: Iterable[str] | None) -> list[str]:
    """The names to measure, each checked; by default every attention, and every peer that is installed."""
    from lwm_core.bench.peers import PEERS

    parts = catalog().names("attention")
    if not names:
        return [*parts, *(name for name, peer in PEERS.items() if importlib.util.find_spec(peer.package))]
    for name in names:
        part, _, kernel = name.partition("/")
        if name in PEERS:
            if importlib.util.find_spec(PEERS[name].package) is None:
                raise RegistryError(f"The peer {name!r} is not installed: pip install {PEERS[name].package}.")
            continue
        if not catalog().named("attention", part):
            known = [*parts, *PEERS]
            raise UnknownName(
                f"There is no backend {name!r}.{did_you_mean(part, known)} Attentions: {listed(parts)} "
                f"(or attention/kernel). Peers: {listed(PEERS)}."
            )
        if kernel:
            catalog().find("kernel", kernel)
    return list(names)


def _measured(cases: Sequence, names: list[str], repeats: int, limit: float) -> Found:
    """The records and refusals of all cases; a case that ends its process or hangs is a refusal too."""
    found: Found = {"records": [], "refused": []}
    for case in cases:
        for key, values in _apart(case, names, repeats, limit).items():
            found[key] += values
    if not found["records"]:
        reasons = "\n".join(f"{r['backend']} on {r['case']}: {r['reason']}" for r in found["refused"])
        raise RegistryError(f"No backend could be measured.\n{reasons}")
    return found


def _apart(case: Any, names: list[str], repeats: int, limit: float) -> Found:
    """One case in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, case, names, repeats))
    child.start()
    sender.close()
    try:
        answer = receiver.recv() if receiver.poll(limit) else f"it was not done after {limit:g} s (--limit)."
    except EOFError:
        answer = "its process ended without an answer; the lines above may say why."
    if child.is_alive() and isinstance(answer, str):
        child.kill()
    child.join()
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, str):
        return {"records": [], "refused": [{"backend": "all", "case": case.name, "reason": answer}]}
    return answer


def _answer(sender: Connection, case: Any, names: list[str], repeats: int) -> None:
    try:
        sender.send(_measure(case, names, repeats))
    except Exception as error:
        sender.send(error)


def _measure(case: Any, names: list[str], repeats: int) -> Found:
    import jax

    # A program loaded from the cache is not what was just compiled: on simulated devices, XLA runs its collectives
    # in no fixed order and aborts.
    jax.config.update("jax_enable_compilation_cache", False)
    simulate(case.devices)
    from lwm_core.bench import contest

    records, refused = contest(case, [_contender(name) for name in names], repeats, _told)
    return {"records": [asdict(r) for r in records], "refused": [r._asdict() for r in refused]}


def _contender(name: str):
    from lwm_core.bench import PartContender
    from lwm_core.bench.peers import PEERS

    if name in PEERS:
        return PEERS[name]
    part, _, kernel = name.partition("/")
    spec = {"use": part, "kernel": {"use": kernel}} if kernel else {"use": part}
    return PartContender(name, catalog().build("attention", spec))


def _print(result: dict[str, Any]) -> None:
    from lwm_core.bench.report import COLUMNS, rows

    print_table(COLUMNS, rows(result["records"]))
    for note in result["run"]["notes"]:
        print(f"note: {note}")
    for refusal in result["refused"]:
        print(f"not measured: {refusal['backend']} on {refusal['case']}: {refusal['reason']}")


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
