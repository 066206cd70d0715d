"""Files that others wrote: what diffusers computes, open-muse and LWM by their names, and pickles that run nothing."""

import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lwm_vqgan.formats.names import from_flax, from_open_muse
from lwm_vqgan.pictures import pictures
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.vqgan import skeleton
from lwm_vqgan.weights import named_leaves, save_diffusers


FIXTURE = Path(__file__).parents[2] / "fixtures" / "vqgan"
DIFFUSERS = FIXTURE / "diffusers"
SIGNED = VQGANFamily(frame=24, pixel_range=(-1.0, 1.0))


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    lines = (FIXTURE / "names.txt").read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return load_file(DIFFUSERS / "diffusion_pytorch_model.safetensors")


def test_a_checkpoint_of_diffusers_computes_what_diffusers_computes():
    expected = np.load(FIXTURE / "expected.npz")
    frames = jnp.asarray(pictures(24))
    for at_once in (1, 2, 3):
        tokenizer = VQGANFamily(frame=24, pixel_range=(-1.0, 1.0), frames_at_once=at_once).restore(DIFFUSERS)
        assert np.array_equal(tokenizer.encode(frames), expected["codes"])
    assert np.abs(tokenizer.latents(frames) - expected["latents"]).max() < 1e-4
    assert np.abs(tokenizer.decode(jnp.asarray(expected["codes"])) - expected["pixels"]).max() < 1e-3
    assert tokenizer.shape.channels == (4, 8) and tokenizer.shape.groups == 2 and tokenizer.codebook_size == 24


def test_out_and_in_again_gives_the_same_bits(tmp_path, tensors):
    tokenizer = SIGNED.restore(DIFFUSERS)
    save_diffusers(tokenizer, tokenizer.shape, tmp_path / "out")
    again = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    assert set(again) == set(tensors) and all(np.array_equal(again[name], tensors[name]) for name in tensors)
    back = VQGANFamily().restore(tmp_path / "out")
    assert jax.tree.structure(back) == jax.tree.structure(tokenizer)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (back, tokenizer)), strict=True))
    theirs, ours = (json.loads((folder / "config.json").read_text()) for folder in (DIFFUSERS, tmp_path / "out"))
    assert set(theirs) == set(ours)
    free = ("_diffusers_version", "sample_size")
    assert {k: v for k, v in ours.items() if k not in free} == {k: v for k, v in theirs.items() if k not in free}


def test_every_published_name_is_reached_from_open_muse_and_from_lwm(rows):
    shapes = {name: leaf.shape for name, leaf in named_leaves(skeleton(VQGANFamily().shape, 1, ""))}
    assert {row[0] for row in rows} == set(shapes)
    assert from_open_muse(row[1] for row in rows) == {row[1]: row[0] for row in rows}
    marked = {row[2]: np.full(1, index) for index, row in enumerate(rows)}
    assert from_flax(marked) == {row[0]: np.full(1, index) for index, row in enumerate(rows)}


def as_lwm(tensors: dict[str, np.ndarray], rows: list[list[str]]) -> dict:
    """The nested dict that LWM pickles. A level less than the full size: names are those of the same levels."""
    tree: dict = {}
    for published, _, path in rows:
        if published not in tensors:
            continue
        array = tensors[published]
        at = tree
        *above, last = path.split("/")
        for name in above:
            at = at.setdefault(name, {})
        at[last] = np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array
    return tree


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_the_pickle_of_lwm_gives_the_same_weights(tmp_path, tensors, rows, kind, protocol):
    tree = jax.tree.map(kind, as_lwm(tensors, rows))
    (tmp_path / "vqgan").write_bytes(pickle.dumps(tree, protocol))
    back = VQGANFamily(frame=24, groups=2, pixel_range=(-1.0, 1.0)).restore(tmp_path / "vqgan")
    found = dict(named_leaves(back))
    assert set(found) == set(tensors) and all(np.array_equal(found[name], tensors[name]) for name in tensors)


def test_open_muse_gives_the_same_weights(tmp_path, tensors):
    muse = {as_open_muse(name): array for name, array in tensors.items()}
    save_file(muse, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VQGANModel", "resolution": 24}))
    back = VQGANFamily(groups=2, pixel_range=(-1.0, 1.0)).restore(tmp_path)
    assert back.frame_size == (24, 24)
    found = dict(named_leaves(back))
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02old")
    with pytest.raises(ValueError, match="pytorch_model.bin only, which is not the zip file that torch writes"):
        VQGANFamily().restore(tmp_path)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="model.ckpt only, a pickle that can run code, which is not read"):
        VQGANFamily().restore(tmp_path)


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_of_torch_gives_the_same_weights(tmp_path, folder):
    """`torch.save` of open-muse's names, as made by the fixture's script."""
    shutil.copy(FIXTURE / "open_muse.bin", tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VQGANModel", "resolution": 24}))
    path = tmp_path if folder else tmp_path / "pytorch_model.bin"
    found = dict(named_leaves(VQGANFamily(frame=24, groups=2, pixel_range=(-1.0, 1.0)).restore(path)))
    wanted = load_file(DIFFUSERS / "diffusion_pytorch_model.safetensors")
    assert set(found) == set(wanted) and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_hostile_file_of_torch_runs_nothing(tmp_path):
    path, ran = tmp_path / "pytorch_model.bin", tmp_path / "ran"
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    programs = {
        "it names os.system": f"cos\nsystem\n(X\x10\x00\x00\x00touch {str(ran)[:10]}tR.".encode(),
        "it names torch.load": b"ctorch\nload\n.",
        "lies outside its 4 numbers": rebuild + storage + b"K\x02K\x03\x85K\x01\x85\x89}tR.",
        "lies outside its 4 number": rebuild + storage + b"K\x00K\x01\x85J\xff\xff\xff\xff\x85\x89}tR.",
    }
    for message, program in programs.items():
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("m/data.pkl", b"\x80\x02" + program)
            file.writestr("m/data/0", np.arange(4, dtype=np.float32).tobytes())
        with pytest.raises(ValueError, match=message):
            VQGANFamily().restore(path)
    assert not ran.exists()
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="no whole file of torch"):
        VQGANFamily().restore(path)


def as_open_muse(name: str) -> str:
    """The fixture has two levels, so that levels 0 and 1 of the decoder change places."""
    for theirs, ours in (
        ("encoder.down_blocks.", "encoder.down."),
        ("decoder.up_blocks.0.", "decoder.up.1."),
        ("decoder.up_blocks.1.", "decoder.up.0."),
        (".mid_block.resnets.0.", ".mid.block_1."),
        (".mid_block.resnets.1.", ".mid.block_2."),
        (".resnets.", ".block."),
        (".conv_shortcut.", ".nin_shortcut."),
        (".downsamplers.0.", ".downsample."),
        (".upsamplers.0.", ".upsample."),
        (".conv_norm_out.", ".norm_out."),
    ):
        name = name.replace(theirs, ours)
    return name


class Runs:
    """Pickles as a call of `call(*arguments)`."""

    def __init__(self, call, *arguments):
        self.reduced = (call, arguments)

    def __reduce__(self):
        return self.reduced


def test_a_pickle_that_would_run_code_runs_none(tmp_path):
    import os

    ran = tmp_path / "ran"
    hostile = {
        "posix.system": Runs(os.system, f"touch {ran}"),
        "builtins.eval": Runs(eval, f"open({str(ran)!r}, 'w')"),
        "builtins.getattr": Runs(getattr, "text", "upper"),
        "numpy.*load": Runs(np.load, str(ran)),
    }
    for named, what in hostile.items():
        for tree in (what, {"encoder": {"Conv_0": {"kernel": np.zeros(3), "bias": what}}}):
            (tmp_path / "vqgan").write_bytes(pickle.dumps(tree))
            with pytest.raises(ValueError, match=f"it names {named}, .*Nothing of it was run"):
                VQGANFamily().restore(tmp_path / "vqgan")
    assert not ran.exists()
    pickle.loads(pickle.dumps(hostile["posix.system"]))  # the same bytes do run code where nothing holds them
    assert ran.exists()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"encoder": {"Conv_0": {"kernel": 3}}}, "encoder/Conv_0/kernel is a int, neither dict nor array"),
        ({"encoder": {1: np.zeros(3)}}, "the key 1 under encoder is no name"),
        ({"encoder": np.array([{}], object)}, "an array of type .O8. holds no plain numbers"),
        ({"encoder": {"Conv_0": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}}}, "holds no VQGAN of a known kind"),
        ([np.zeros(3)], "the top is a list, neither dict nor array"),
    ],
)
def test_pickles_of_other_things_are_refused_by_name(tmp_path, tree, message):
    (tmp_path / "vqgan").write_bytes(pickle.dumps(tree))
    with pytest.raises(ValueError, match=message):
        VQGANFamily().restore(tmp_path / "vqgan")


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it names os.system"),
        (b"(S'true'\nios\nsystem\n.", "it holds the instruction STRING"),
        (b"(ios\nsystem\n.", "it holds the instruction INST"),
        (NDARRAY + b")\x81.", "it holds the instruction NEWOBJ"),
        (b"\x8c\x02os\x8c\x06system\x93.", "it names os.system"),
        (b"\x8c\x05numpy\x8c\x0fndarray.dumps.x\x93.", "it names numpy.ndarray.dumps.x"),
        (NDARRAY + b"}b.", "it sets the state of a function"),
        (NDARRAY + b")R.", "it calls numpy.ndarray"),
        (b"}" + b")R.", "it calls a dict"),
        (RECONSTRUCT + b"(" + DTYPE + b"K\x00tR.", "it rebuilds an array as"),
        (b"U\x04spotQ.", "it holds the instruction SHORT_BINSTRING"),
        (b"K\x01Q.", "it refers to something outside itself"),
        (b"\x82\x01.", "it holds the instruction EXT1"),
        (b"R.", "do not add up"),
        (b"h\x07.", "no whole pickle"),
        (b"}h\x00.", "no whole pickle"),
        (b"}q\x00\x8c\x01ah\x00s.", "neither dict nor array"),  # a dict that holds itself
        (b"\x8e" + struct.pack("<Q", 2**60) + b"x.", "no whole pickle"),  # bytes that are not there
        (b"}", "no whole pickle"),
    ],
)
def test_hand_written_pickles_reach_nothing(tmp_path, program, message):
    (tmp_path / "vqgan").write_bytes(b"\x80\x04" + program)
    with pytest.raises(ValueError, match=message):
        VQGANFamily().restore(tmp_path / "vqgan")


def test_damaged_pickles_are_an_error_and_nothing_else(tmp_path):
    whole = pickle.dumps({"a": {"b": np.arange(9.0)}})
    wrong_shape = whole.replace(struct.pack("<B", 9) + b"\x85", b"\x63\x85", 1)
    for data in (whole[:40], whole[:-20], b"\x80\x04.", b"\x80\x63" + whole[2:], wrong_shape):
        (tmp_path / "vqgan").write_bytes(data)
        with pytest.raises(ValueError, match=r"no whole pickle|is not read|known kind"):
            VQGANFamily().restore(tmp_path / "vqgan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mid_block_add_attention": True}, "mid_block_add_attention is True; the VQGAN of aMUSEd and LWM"),
        ({"act_fn": "relu"}, "act_fn is 'relu'"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "only DownEncoderBlock2D is in this network"),
        ({"vq_embed_dim": 8}, "latent_channels 4 and vq_embed_dim 8"),
        ({"block_out_channels": [4, 16]}, r"channels is \(4, 16\) there and \(4, 8\) here"),
        ({"_class_name": "AutoencoderKL"}, "is of a AutoencoderKL: give the folder of a VQModel"),
        ({"norm_num_groups": 3}, "4 channels does not divide by 3 groups"),
    ],
)
def test_other_networks_are_refused_by_what_differs(tmp_path, change, message):
    shutil.copytree(DIFFUSERS, tmp_path / "d")
    config = json.loads((DIFFUSERS / "config.json").read_text())
    (tmp_path / "d" / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        SIGNED.restore(tmp_path / "d")


def test_a_folder_that_lacks_its_parts_says_which(tmp_path):
    folder = tmp_path / "pipe" / "vqvae"
    shutil.copytree(DIFFUSERS, folder)
    with pytest.raises(ValueError, match=r"no known weight format.*Did you mean .*vqvae"):
        SIGNED.restore(tmp_path / "pipe")
    with pytest.raises(ValueError, match="channels is .4, 8., not .8, 8.* with no size to take the file's"):
        VQGANFamily(channels=(8, 8), groups=2).restore(folder)
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(ValueError, match="there is diffusion_pytorch_model.fp16.safetensors: rename"):
        SIGNED.restore(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        SIGNED.restore(folder)


def test_patches_in_channels_are_refused_on_the_way_to_diffusers(tmp_path):
    tokenizer = VQGANFamily("tiny").init(key=jax.random.key(0))
    with pytest.raises(ValueError, match="patch=2 is no VQModel of diffusers"):
        save_diffusers(tokenizer, tokenizer.shape, tmp_path / "out")
    assert not (tmp_path / "out").exists()
