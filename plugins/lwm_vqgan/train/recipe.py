"""The numbers of a tokenizer training run. Plain data; no JAX."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerRecipe:
    """How a tokenizer is trained. The same recipe, frames and device give the same weights.

    - `steps`, `batch`, `learning_rate`, `warmup_steps`: Adam, linear start, cosine to a hundredth;
    - `plain_share`: the share of steps at the beginning without quantisation; k-means then starts the codes;
    - `square_weight`, `absolute_weight`: of the mean square and mean absolute pixel error;
    - `commitment`: of the squared distance of a latent to its code;
    - `code_decay`: of the moving averages that the codes are;
    - `restart_below`: a code chosen less often than this share of an even share starts again;
    - `restart_until`: the share of steps after which no code starts again;
    - `average`: decay of the moving average of the weights that is kept.
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
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"{self.steps} steps of {self.batch} frames: give at least 1 of each.")
        if not 0 <= self.plain_share < 1:
            raise ValueError(f"plain_share={self.plain_share}: give a share from 0 to below 1.")

    @property
    def plain_steps(self) -> int:
        """Steps before the codes come in."""
        return int(self.plain_share * self.steps)
