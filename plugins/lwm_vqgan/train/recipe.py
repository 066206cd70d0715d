"""The numbers of a tokenizer training run. Plain data; no JAX."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerRecipe:
    """How a tokenizer is trained. The same recipe, frames and device give the same weights.

    - `steps`, `batch`, `learning_rate`, `warmup_steps`: Adam, linear start, cosine to a hundredth;
    - `plain_share`: the share of steps at the beginning without quantisation; k-means then starts the codes;
    - `square_weight`, `absolute_weight`: of the mean square and mean absolute pixel error;
    - `commitment`: of the squared distance of a latent to its code (of a learned codebook);
    - `code_decay`: of the moving averages that the codes are;
    - `restart_below`: a code chosen less often than this share of an even share starts again;
    - `restart_until`: the share of steps after which no code starts again;
    - `average`: decay of the moving average of the weights that is kept;
    - `perceptual_weight`: of the distance of VGG features (LPIPS), which needs their weights;
    - `adversarial_weight`: of a discriminator's judgement, on top of the factor that makes its gradient at the last
      layer as large as that of the reconstruction (VQGAN); `adversarial_start`: the share of steps before it joins;
      `adversarial_rate`: the discriminator's learning rate;
      `adversarial_width`, `adversarial_levels`: channels and halvings of the discriminator.
    """

    steps: int = 7_000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    plain_share: float = 0.1
    square_weight: float = 10.0
    absolute_weight: float = 0.0
    commitment: float = 0.25
    code_decay: float = 0.99
    restart_below: float = 0.03
    restart_until: float = 0.9
    average: float = 0.999
    perceptual_weight: float = 0.0
    adversarial_weight: float = 0.0
    adversarial_start: float = 0.5
    adversarial_rate: float = 2e-4
    adversarial_width: int = 64
    adversarial_levels: int = 3
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch", "adversarial_width", "adversarial_levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        for name in ("plain_share", "adversarial_start"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share from 0 to below 1.")
        for name in ("square_weight", "absolute_weight", "commitment", "perceptual_weight", "adversarial_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: give 0 or more.")
        if not (self.square_weight or self.absolute_weight or self.perceptual_weight):
            raise ValueError("All reconstruction weights are 0: give square_weight, absolute_weight or both.")

    @property
    def plain_steps(self) -> int:
        """Steps before the codes come in."""
        return int(self.plain_share * self.steps)

    @property
    def adversarial_steps(self) -> int:
        """Steps before the discriminator comes in; all of them where it has no weight."""
        return int(self.adversarial_start * self.steps) if self.adversarial_weight else self.steps
