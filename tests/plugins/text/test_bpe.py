"""BPE files: the one that ships, one trained here, foreign ones, and what is wrong with a file."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from lwm_core.testing.text_tokenizer import check_text_tokenizer
from lwm_text.bpe import BPETokenizer
from lwm_text.train import main, train


BOOK = Path(__file__).parents[3] / "assets" / "book"


def test_the_shipped_tokenizer_conforms():
    tokenizer = BPETokenizer(str(BOOK / "bpe-2048.json"))
    check_text_tokenizer(tokenizer)
    assert tokenizer.size == 2048
    assert [tokenizer.decode([i]) for i in tokenizer.encode(" 1851")] == [" ", "1", "8", "5", "1"]


def test_the_shipped_tokenizer_is_the_one_that_its_command_makes(tmp_path):
    main([str(BOOK / "moby-dick.txt"), "--size", "2048", "--out", str(tmp_path / "made.json")])
    made, shipped = (json.loads(p.read_text()) for p in (tmp_path / "made.json", BOOK / "bpe-2048.json"))
    assert made == shipped


def test_a_file_that_truncates_and_pads_does_neither(tmp_path):
    foreign = train(["some text to learn from"], 260)
    foreign.enable_truncation(2)
    foreign.enable_padding(length=64)
    foreign.save(str(tmp_path / "foreign.json"))
    check_text_tokenizer(BPETokenizer(str(tmp_path / "foreign.json")))


def test_one_marker_may_serve_as_both(tmp_path):
    foreign = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    foreign.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    foreign.add_special_tokens(["<|endoftext|>"])
    foreign.save(str(path := tmp_path / "foreign.json"))
    marker = "<|endoftext|>"
    assert BPETokenizer(str(path), bos=marker, eos=marker).markers == {"bos": 2, "eos": 2}
    with pytest.raises(ValueError, match=r"no special token '<bos>': it has <\|endoftext\|>.*option 'bos'"):
        BPETokenizer(str(path))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.json.*lwm_text.train"):
        BPETokenizer(str(tmp_path / "absent.json"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="config.json is not a Hugging Face tokenizer.json"):
        BPETokenizer(str(tmp_path / "config.json"))


def test_training_refuses_what_it_cannot_do(tmp_path, capsys):
    with pytest.raises(ValueError, match="at least 258"):
        train(["abc"], 100)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "absent.txt"), "--out", str(tmp_path / "made.json")])
    assert "absent.txt" in capsys.readouterr().err
