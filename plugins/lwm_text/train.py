"""Trains a byte-level BPE tokenizer on text files: `python -m lwm_text.train FILE --size 2048 --out PATH`.

Owns how our own tokenizers are made: bytes as the alphabet (every text encodes), digits one by one (numbers
keep their digits apart, which arithmetic and needle tests need), markers `<bos>` and `<eos>` as ids 0 and 1.
The same files, order and size give the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


MARKERS = ("<bos>", "<eos>")
SMALLEST = 256 + len(MARKERS)


def train(texts: Sequence[str], size: int) -> Tokenizer:
    """A tokenizer of `size` ids at most (fewer where the texts hold no more pairs worth merging)."""
    if size < SMALLEST:
        raise ValueError(f"A vocabulary of {size} does not hold all bytes and markers: give at least {SMALLEST}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(MARKERS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lwm_text.train", description="Train a byte-level BPE.")
    parser.add_argument("files", nargs="+", type=Path, help="UTF-8 text files, read in this order")
    parser.add_argument("--size", type=int, default=2048, help="ids in all, markers included")
    parser.add_argument("--out", type=Path, required=True, help="where the tokenizer.json goes")
    given = parser.parse_args(arguments)
    try:
        tokenizer = train([file.read_text("utf-8") for file in given.files], given.size)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    tokenizer.save(str(given.out))
    print(f"{given.out}: {tokenizer.get_vocab_size()} ids")


if __name__ == "__main__":
    main()
