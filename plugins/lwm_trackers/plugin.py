"""What lwm_trackers offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "observer",
        "tensorboard",
        "lwm_trackers.tensorboard:TensorBoardObserver",
        "TensorBoard event files in the run's folder: scalars by stage and part, recipe, pictures.",
    )
    yield Component(
        "observer",
        "wandb",
        "lwm_trackers.wandb:WandbObserver",
        "A Weights & Biases run, online or offline, which goes on when training is resumed.",
        {"mode": "disabled"},
    )
