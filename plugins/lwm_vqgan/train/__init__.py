"""Training a VQGAN: `train_tokenizer`, or `python -m lwm_vqgan.train`."""

from lwm_vqgan.train.bank import FrameBank as FrameBank
from lwm_vqgan.train.film import film_bank as film_bank
from lwm_vqgan.train.film import film_held_out as film_held_out
from lwm_vqgan.train.loop import train_tokenizer as train_tokenizer
from lwm_vqgan.train.recipe import TokenizerRecipe as TokenizerRecipe
from lwm_vqgan.train.score import Score as Score
from lwm_vqgan.train.score import score as score
