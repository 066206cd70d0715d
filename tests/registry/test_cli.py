"""The command line as a person meets it: what it prints, how it fails, and how fast it starts."""

import json
import os
import subprocess
import sys
import time

import pytest

from lwm_registry import cli
from lwm_registry.cli.common import overrides_of
from lwm_registry.cli.problems import told
from lwm_registry.errors import RegistryError


@pytest.fixture
def lwm(monkeypatch, capsys):
    """`lwm(*words)` gives (exit code, standard output, standard error) of the command in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lwm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run


def test_the_list_of_plugins_is_fast_and_imports_no_jax():
    program = (
        "import sys; from lwm_registry import cli; sys.argv = ['lwm', 'plugins', '--json']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = sorted({'jax', 'numpy', 'equinox', 'grain', 'optax'} & set(sys.modules))\n"
        "print(heavy, file=sys.stderr)"
    )
    took = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        took.append(time.monotonic() - start)
    records = json.loads(done.stdout)
    assert done.stderr.strip() == "[]", "listing imported something heavy"
    wanted = {"kind", "name", "distribution", "version", "summary", "state", "error"}
    assert all(wanted <= record.keys() for record in records)
    assert any((r["kind"], r["name"], r["state"]) == ("attention", "dense", "ok") for r in records)
    assert min(took) < 2.0, f"the fastest of three starts took {min(took):.1f} s"


def test_a_broken_plugin_is_shown_and_the_recovery_commands_still_work(lwm, installed, monkeypatch):
    from lwm_registry.catalog import catalog

    installed("bad-dist", {"bad": ("bad_plugin_module", "raise OSError('no such driver')")})
    catalog.cache_clear()
    try:
        code, out, _ = lwm("plugins", "--json")
        (record,) = [r for r in json.loads(out) if r["name"] == "bad"]
        assert code == 0 and record["state"] == "broken" and "no such driver" in record["error"]
        code, out, _ = lwm("doctor", "--json")
        assert code == 1
        assert any(f["check"] == "plugin bad" and f["state"] == "broken" for f in json.loads(out))
        code, _, err = lwm("describe", "no-such-part")
        assert code == 2 and "no part, kind or recipe" in err
    finally:
        catalog.cache_clear()


@pytest.mark.parametrize("command", [command.__name__ for command in cli.COMMANDS])
def test_every_help_has_an_example(lwm, command):
    code, out, _ = lwm(command, "--help")
    assert code == 0
    assert f"Example: lwm {command}" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (("plugins", "atention"), ("no kind 'atention'", "Did you mean 'attention'?")),
        (("describe", "lama"), ("no part, kind or recipe 'lama'", "Did you mean 'llama'?", "tiny-text")),
        (("describe", "rotary", "--kind", "layout"), ("no layout 'rotary'", "contiguous")),
        (("train", "tiny-txt", "--out", "OUT"), ("no recipe 'tiny-txt'", "Did you mean 'tiny-text'?")),
        (("train", "nowhere.toml", "--out", "OUT"), ("no recipe file 'nowhere.toml'",)),
        (("train", "tiny-text", "--out", "OUT", "model.widht=3"), ("'widht'", "Did you mean 'width'?")),
        (("train", "tiny-text", "--out", "OUT", "model.width"), ("'model.width' is not key=value", "seed=3")),
        (("train", "tiny-text", "--out", "OUT", "attention.use=rign"), ("no attention 'rign'", "dense")),
        (("train", "tiny-text", "--out", "OUT", "--until", "tall"), ("tall", "short")),
        (("resume", "nowhere"), ("no folder 'nowhere'",)),
        (("sample", "nowhere", "x"), ("no folder 'nowhere'",)),
        (("evaluate", "nowhere"), ("no folder 'nowhere'",)),
        (("trian",), ("Did you mean 'train'?",)),
    ],
)
def test_bad_input_is_one_message_without_a_traceback(lwm, tmp_path, words, said):
    code, out, err = lwm(*(tmp_path / "run" if word == "OUT" else word for word in words))
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    for word in said:
        assert word in err, err


def test_a_failure_of_another_kind_exits_with_1_and_says_how_to_see_more(lwm, monkeypatch):
    def fail():
        raise RuntimeError("out of memory")

    monkeypatch.setattr(cli, "app", lambda prog_name: fail())
    code, _, err = lwm()
    assert code == 1 and "RuntimeError: out of memory" in err and "LWM_TRACEBACK=1" in err
    monkeypatch.setenv("LWM_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["lwm"])
    with pytest.raises(RuntimeError):
        cli.main()


def test_an_error_keeps_its_notes_and_a_key_error_its_words():
    error = OSError("disk full")
    error.add_note("raised by lwm_step_finished of plugin 'x'")
    assert told(error)[0].splitlines()[:2] == ["OSError: disk full", "raised by lwm_step_finished of plugin 'x'"]
    assert told(FileNotFoundError("no file 'a'")) == ("no file 'a'", 2)
    assert told(KeyError("No marker 'a'."))[0].startswith("KeyError: No marker 'a'.")


def test_overrides_are_toml_values_and_bare_words():
    given = ["a.use=ring", "seed=3", "x.rate=1e-3", "flag=true", "many=[1, 2]", 'text="3"', "path=a/b.txt", "t={k = 1}"]
    assert overrides_of(given) == {
        "a.use": "ring",
        "seed": 3,
        "x.rate": 1e-3,
        "flag": True,
        "many": [1, 2],
        "text": "3",
        "path": "a/b.txt",
        "t": {"k": 1},
    }
    with pytest.raises(RegistryError, match="not key=value"):
        overrides_of(["=3"])


def test_describe_a_part_and_a_recipe(lwm):
    code, out, _ = lwm("describe", "llama", "--json")
    part = json.loads(out)
    options = {option["name"]: option for option in part["options"]}
    assert code == 0 and part["kind"] == "model"
    assert options["size"] == {"name": "size", "type": "text", "required": False, "default": "debug"}
    assert options["attention"]["default"]["use"] == "local"
    code, out, _ = lwm("describe", "tiny-text", "--json")
    recipe = json.loads(out)
    short, long = recipe["stages"]
    assert long["sequence_length"] == 2 * short["sequence_length"] and long["rope_theta"] > short["rope_theta"]
    assert short["tokens_per_batch"] * short["steps"] == short["total_tokens"]
    assert short["mixture"] == {"book": 1.0} and short["mesh"] is None
    code, out, _ = lwm("describe", "packer", "--json")
    assert code == 0 and {"init", "push", "flush"} <= json.loads(out)["members"].keys()
    code, _, err = lwm("describe", "jsonl")
    assert code == 2 and "--kind with one of observer, source" in err
    for words in (
        ("describe",),
        ("describe", "layout"),
        ("describe", "jsonl", "--kind", "source"),
        ("describe", "llama"),
        ("describe", "tiny-text"),
        ("plugins", "packer"),
    ):
        code, out, err = lwm(*words)
        assert code == 0 and out and not err


def test_train_resume_sample_and_evaluate(lwm, tmp_path):
    run = tmp_path / "run"
    small = ("model.layers=1", "model.remat=none", "save_every=2", "observers.progress.use=jsonl")
    code, out, err = lwm("train", "tiny-text", "--out", run, "--until", "short", *small)
    assert code == 0, err
    assert f"lwm sample {run}" in out
    code, _, err = lwm("train", "tiny-text", "--out", run, *small)
    assert code == 2 and "already holds a run" in err
    code, _, err = lwm("resume", run)
    assert code == 0, err
    code, out, err = lwm("sample", run, "Call me", "Some years", "--tokens", 3, "--json")
    assert code == 0, err
    texts = json.loads(out)
    assert [line["prompt"] for line in texts] == ["Call me", "Some years"] and texts[0].keys() == {"prompt", "text"}
    code, out, _ = lwm("evaluate", run, "--json")
    found = json.loads(out)["perplexity"]
    assert found["summary"]["perplexity"] > 1 and found["records"]


def test_the_installed_command_runs():
    command = [sys.executable, "-c", "from lwm_registry.cli import main; main()", "train", "tiny-txt", "--out", "x"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 2 and done.stderr.startswith("lwm: There is no recipe 'tiny-txt'")
