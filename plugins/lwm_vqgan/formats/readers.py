"""Which foreign file is which, and how each is read into tensors under the published names.

Owns recognising a file by what is in it. Names, sizes and pickles have files of their own. None of these formats
says what black and white are: `lwm_vqgan.probe` finds that out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lwm_vqgan.formats.names import from_flax, from_open_muse
from lwm_vqgan.formats.pickles import read_arrays
from lwm_vqgan.formats.sizes import sizes_of_diffusers, sizes_of_tensors
from lwm_vqgan.formats.torch_files import torch_tensors


DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
SAFETENSORS = (DIFFUSERS_WEIGHTS, "model.safetensors", "pytorch_model.safetensors")
BINARIES = ("diffusion_pytorch_model.bin", "pytorch_model.bin")
Found = tuple[dict[str, np.ndarray], dict[str, Any]]


def is_folder(path: Path) -> bool:
    return path.is_dir() and (path / "config.json").is_file()


def is_safetensors(path: Path) -> bool:
    return path.is_file() and path.suffix == ".safetensors"


def is_pickle(path: Path) -> bool:
    """LWM's file has no suffix: a pickle starts with its protocol."""
    return path.is_file() and _starts(path, b"\x80")


def is_torch(path: Path) -> bool:
    """`torch.save` writes a zip file."""
    return path.is_file() and _starts(path, b"PK")


def read_folder(path: Path) -> Found:
    """A diffusers or open-muse folder: the tensors, and the sizes by its config.json."""
    config = _config(path)
    file = next((path / name for name in (*SAFETENSORS, *BINARIES) if (path / name).is_file()), None)
    if file is None:
        raise ValueError(_no_safetensors(path))
    return _read(file, config)


def read_file(path: Path) -> Found:
    """One file of a folder, or a file on its own: the config.json beside it counts if there is one."""
    return _read(path, _config(path.parent) if (path.parent / "config.json").is_file() else {})


def read_flax(path: Path) -> Found:
    """LWM's `vqgan`: a pickled nested dict of arrays."""
    tensors = from_flax(read_arrays(path))
    return tensors, sizes_of_tensors(tensors, path)


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy or train it again.") from error


def _read(path: Path, config: dict[str, Any]) -> Found:
    tensors = tensors_of(path) if path.suffix == ".safetensors" else torch_tensors(path)
    if any(name.startswith(("encoder.down.", "decoder.up.")) for name in tensors):
        published = from_open_muse(tensors)
        tensors = {published[name]: array for name, array in tensors.items()}
    seen = sizes_of_tensors(tensors, path)
    if config.get("_class_name") != "VQModel":
        resolution = config.get("resolution")  # open-muse's name for the frame
        return tensors, {**seen, "frame": resolution} if isinstance(resolution, int) else seen
    said = sizes_of_diffusers(config, path.parent / "config.json")
    differing = {name: (said[name], value) for name, value in seen.items() if said[name] != value}
    if differing:
        told = "; ".join(f"{name} is {says!r} there and {has!r} here" for name, (says, has) in differing.items())
        raise ValueError(f"{path} does not fit the config.json beside it: {told}. They are of different models.")
    return tensors, said


def _starts(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}): copy the folder again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no table of sizes: copy the folder again.")
    kind = config.get("_class_name", "VQModel")
    if kind not in ("VQModel", "VQGANModel"):
        raise ValueError(f"{path} is of a {kind}: give the folder of a VQModel (diffusers) or VQGANModel (open-muse).")
    return config


def _no_safetensors(path: Path) -> str:
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickles:
        return (
            f"{path} has its weights in {pickles[0]} only, a pickle that can run code, which is not read. Write them "
            f"as safetensors where you trust them: save_pretrained(FOLDER, safe_serialization=True)."
        )
    others = sorted(file.name for file in path.iterdir() if file.suffix == ".safetensors")
    there = f" (there is {', '.join(others)}: rename the one you mean)" if others else ""
    return f"{path} has no {' or '.join(SAFETENSORS)}{there}."
