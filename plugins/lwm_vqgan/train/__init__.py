"""Training a vision tokenizer: `lwm train vqgan`, or `train_tokenizer` from a program."""

from lwm_vqgan.train.bank import FrameBank as FrameBank
from lwm_vqgan.train.frames import FrameFiles as FrameFiles
from lwm_vqgan.train.loop import train_tokenizer as train_tokenizer
from lwm_vqgan.train.recipe import TokenizerRecipe as TokenizerRecipe
from lwm_vqgan.train.score import Score as Score
from lwm_vqgan.train.score import score as score
from lwm_vqgan.train.trainer import TokenizerTrainer as TokenizerTrainer
