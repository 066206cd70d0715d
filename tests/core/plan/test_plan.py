"""Plans: what the compiler says of a step for a machine that is not here, and for this one."""

import importlib.util
import json
import platform
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec
from typer.testing import CliRunner

from lwm_core.mesh import MeshSpec
from lwm_core.plan import DoesNotFit, Machine, machine, plan
from lwm_core.plan.hlo import collectives
from lwm_registry import catalog, compose
from lwm_registry.cli import app
from lwm_registry.planning import sketch


needs_tpu_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None and (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="libtpu is for Linux on x86-64",
)
OVERRIDES = {
    "model": {"use": "llama", "size": "debug", "width": 256, "heads": 2, "ffn": 512},
    "attention": {"use": "ring", "kernel": {"use": "blockwise"}},
    "curriculum": {
        "use": "staged",
        "stages": [
            {"name": "long", "sequence_length": 2048, "rope_theta": 1e4, "rows": 2, "steps": 1, "learning_rate": 1e-3}
        ],
    },
}


def test_collectives_are_counted_as_often_as_loops_in_loops_run():
    """Read off the text that XLA on CPU gives; 3 turns of 2 permutes, a sum after them."""
    mesh = MeshSpec(sp=4).make(jax.devices()[:4])

    def shard(x):
        def outer(x, _):
            return jax.lax.scan(lambda x, _: (jax.lax.ppermute(x, "sp", [(0, 1), (1, 2), (2, 3), (3, 0)]) + 1, None),
                                x, length=2)[0], None  # fmt: skip

        return jax.lax.psum(jax.lax.scan(outer, x, length=3)[0], "sp")

    with jax.set_mesh(mesh):
        run = jax.jit(jax.shard_map(shard, in_specs=PartitionSpec("sp"), out_specs=PartitionSpec(), check_vma=False))
        found = collectives(run.lower(jax.ShapeDtypeStruct((4096,), jnp.float32)).compile().as_text())
    assert {(one.kind, one.times, one.sent, one.dtype) for one in found} == {
        ("collective-permute", 6, 4096, "f32"),
        ("all-reduce", 1, 2 * 4096 * 3 // 4, "f32"),
    }


def test_a_collective_in_a_loop_that_data_ends_is_not_counted_by_a_guess():
    mesh = MeshSpec(sp=2).make(jax.devices()[:2])

    def shard(x):
        again = lambda x: jax.lax.psum(x * 0.5, "sp")  # noqa: E731
        return jax.lax.while_loop(lambda x: jax.lax.pmax(x.max(), "sp") < 100.0, again, x)

    with jax.set_mesh(mesh):
        run = jax.jit(
            jax.shard_map(shard, in_specs=PartitionSpec("sp"), out_specs=PartitionSpec("sp"), check_vma=False)
        )
        text = run.lower(jax.ShapeDtypeStruct((8,), jnp.float32)).compile().as_text()
    with pytest.raises(ValueError, match="turns cannot be read"):
        collectives(text)


@needs_tpu_compiler
def test_a_step_for_a_slice_that_is_not_here():
    """The kernel made for it, all of whose hops are hidden; exact bytes of what stays; the same as JSON."""
    slice_ = machine("v4:4")
    given = sketch("tiny-text", OVERRIDES | {"attention.kernel.use": "pallas-tpu"}, "tpu", catalog=catalog())
    work = given.training()
    made = plan(work, slice_, MeshSpec(sp=4), given.overrides)
    assert made.fits and made.chips == 4 and made.limit_bytes_per_chip == int(30.75 * 2**30)
    model = jax.eval_shape(lambda: work.family.init(key=jax.random.key(0)))
    weights = sum(leaf.size * 4 for leaf in jax.tree.leaves(model) if hasattr(leaf, "size"))
    kinds = made.bytes_by_kind
    assert weights / 4 <= kinds["weights"] < 1.02 * weights / 4
    assert kinds["optimiser"] == pytest.approx(2 * kinds["weights"], rel=0.01)
    assert sum(kinds.values()) == pytest.approx(made.peak_bytes_per_chip, rel=0.05)
    # Two layers of keys, values and coordinates, forward and backward, and two gradients that make one hop more.
    assert made.hops["all"] >= 2 * (2 * 3 * 3 + 2 * 4) and made.hops["under_compute"] == made.hops["all"]
    assert made.flops == pytest.approx(work.flops()) and made.estimate and made.estimate.low < made.estimate.high
    assert json.loads(json.dumps(made.data()))["mesh"] == {"dp": 1, "fsdp": 1, "tp": 1, "sp": 4}


@needs_tpu_compiler
def test_a_step_that_does_not_fit_is_refused_by_the_compiler_with_its_bytes():
    overrides = OVERRIDES | {"attention.kernel.use": "pallas-tpu", "model.ffn": 2**20, "model.remat": "none"}
    overrides["curriculum"] = {**OVERRIDES["curriculum"]}
    overrides["curriculum"]["stages"] = [{**OVERRIDES["curriculum"]["stages"][0], "sequence_length": 2**17}]
    given = sketch("tiny-text", overrides, "tpu", catalog=catalog())
    slice_ = machine("v5e:4")
    made = plan(given.training(), slice_, MeshSpec(sp=4))
    assert not made.fits and made.peak_bytes_per_chip > made.limit_bytes_per_chip and "Ran out of memory" in made.reason


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_the_command_plans_this_machine_and_says_so_in_json_and_in_words():
    told = run("tiny-text", "--json")
    data = json.loads(told.stdout)
    assert told.exit_code == 0 and data["fits"] and data["chips"] == 1 and data["flops"] > 0
    assert {"limit_bytes_per_chip", "peak_bytes_per_chip", "bytes_by_kind", "collective_bytes", "mesh"} <= data.keys()
    words = run("tiny-text", "--serve", "256", "--cache", "float32").stdout
    assert "fits here" in words and "kv cache" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny-text", "--topology", "v9:4"], "No topology 'v9:4'.*v4"),
        (["tiny-text", "--mesh", "1,1"], "four whole numbers"),
        (["tiny-text", "--mesh", "1,1,1,3"], "takes 3 devices and there are 8"),
        (["tiny-text", "--topology", "v4"], "names no slice"),
        (["tiny-text", "--stage", "none"], "No stage 'none'"),
        (["tiny-text", "--mesh", "8,1,1,1"], "rows a step do not divide"),
        (["tiny-text", "--mesh", "1,1,1,2", "--fit"], "choose the mesh themselves"),
        (["tiny-text", "--fit", "--longest"], "different things"),
        (["tiny-text", "--topology", "v5e:2x2x2"], "give 2 axes"),
        (["tiny-text", "--serve", "64"], "--cache float32"),
        (
            [
                "tiny-text",
                "--mesh",
                "1,1,1,8",
                "attention.use=ring",
                "curriculum.stages.0.sequence_length=62",
                "--stage",
                "short",
            ],
            "uneven",
        ),
    ],
)
def test_what_cannot_be_planned_is_explained(arguments, words):
    with pytest.raises(Exception, match=words):
        found = run(*arguments)
        raise found.exception or AssertionError(found.stdout)


@pytest.mark.parametrize("option", ["--serve", "--batch", "--tokens", "--cpu-devices"])
def test_no_number_below_one_is_taken(option):
    given = [] if option in ("--serve", "--cpu-devices") else ["--serve", "64"]
    assert run("tiny-text", *given, option, "0").exit_code == 2


def test_rows_are_planned_with_the_slots_that_they_are_padded_to():
    stage = {"curriculum.stages.0.sequence_length": 62, "curriculum.stages.0.uneven": "pad", "attention.use": "ring"}
    work = sketch("tiny-text", stage, "cpu", catalog=catalog()).training("short")
    mesh = MeshSpec(sp=4).make(jax.devices()[:4])
    assert work.resident(mesh)["batch"].tokens.shape[1] == 64


def test_when_nothing_fits_the_keys_of_a_plan_are_there(monkeypatch):
    import lwm_core.plan

    small = Machine("small", tuple(jax.devices()[:1]), None, 1000)
    monkeypatch.setattr(lwm_core.plan, "machine", lambda name: small)
    told = run("tiny-text", "--fit", "--json")
    data = json.loads(told.stdout)
    assert told.exit_code == 1 and not data["fits"] and data["advice"] and data["limit_bytes_per_chip"] == 1000
    assert data["chips"] == 1 and {"peak_bytes_per_chip", "bytes_by_kind", "collective_bytes", "mesh"} <= data.keys()


@needs_tpu_compiler
def test_a_recipe_whose_attention_takes_no_kernel_is_planned_as_it_is():
    told = run("tiny-text", "--topology", "v4:4", "--json")
    assert told.exit_code == 0 and json.loads(told.stdout)["fits"]


def test_a_stage_that_is_not_to_run_is_not_asked_to_fit(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("lwm_core.pipeline.check_fits", lambda work, devices: asked.append(work.stage.name))
    compose("tiny-text", {"curriculum.stages.0.steps": 1}).train(tmp_path / "run", until="short")
    assert asked == ["short"]


def test_a_machine_without_room_gets_advice():
    from lwm_core.plan import fit

    given = sketch("tiny-text", {}, "cpu", catalog=catalog())
    small = Machine("small", tuple(jax.devices()[:1]), None, 1000)
    found = fit(given.training(), [small], {}, told=lambda line: None)
    assert found.found is None and len(found.tried) == 3 and "not compiled" in found.tried[0]
    assert "chips like these" in found.advice


def test_training_refuses_what_cannot_fit_before_it_makes_a_weight(tmp_path):
    too_large = compose("tiny-text", {"model.width": 8192, "model.heads": 64, "model.ffn": 22016, "model.layers": 800})
    with pytest.raises(DoesNotFit, match=r"(?s)Stage 'short' does not fit.*weights.*optimiser.*lwm plan RECIPE --fit"):
        too_large.train(tmp_path / "run")
    assert not (tmp_path / "run").exists()
