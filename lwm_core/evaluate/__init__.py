"""Evaluation: the interface, scores of every token, perplexity by position."""

from lwm_core.evaluate.base import Evaluation as Evaluation
from lwm_core.evaluate.base import Evaluator as Evaluator
from lwm_core.evaluate.base import Pictured as Pictured
from lwm_core.evaluate.base import Subject as Subject
from lwm_core.evaluate.perplexity import Perplexity as Perplexity
from lwm_core.evaluate.score import batches as batches
from lwm_core.evaluate.score import best_next as best_next
from lwm_core.evaluate.score import token_losses as token_losses
from lwm_core.evaluate.withheld import Withheld as Withheld
from lwm_core.evaluate.withheld import Withholding as Withholding
