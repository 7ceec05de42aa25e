"""SentencePiece tokenizers: made from plain text, and wrapped as transformers has tokenizers.

Every text comes back byte for byte, whatever its script: what no piece stands for becomes bytes
(only the sign `▁` comes back as the space it stands for). Knows no models.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finetune.errors import DataError

ModelType = Literal["bpe", "unigram"]

SPECIALS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""In the order of their ids, from 0."""
SPACE = "▁"
"""How SentencePiece writes a space."""


@dataclass(frozen=True)
class Document:
    """A text of the corpus and where it was read."""

    path: Path
    text: str


def train_pieces(documents: Sequence[Document], vocabulary: int, model_type: ModelType) -> bytes:
    """A SentencePiece model made from documents; the same ones give the same bytes.

    Args:
        vocabulary: ids, of which 4 are special, one is the line break, 256 are bytes.

    Raises:
        DataError: the documents have too little for the vocabulary, or more than it holds.
    """
    lines = [line for each in documents for line in each.text.split("\n") if line]
    made = io.BytesIO()
    specials: dict[str, Any] = {}
    for id_, (name, text) in enumerate(SPECIALS.items()):
        specials |= {name.replace("token", "id"): id_, name.replace("token", "piece"): text}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=made,
            vocab_size=vocabulary,
            model_type=model_type,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            max_sentence_length=max(len(line.encode()) for line in lines) + 1,
            num_threads=1,  # sums come out the same each time
            minloglevel=2,
            **specials,
        )
    except RuntimeError as error:
        raise DataError(_advice(documents[0].path, vocabulary, str(error))) from None
    return made.getvalue()


def _advice(path: Path, vocabulary: int, complaint: str) -> str:
    """What to do about what SentencePiece complained of."""
    if most := re.search(r"too high.*<= (\d+)", complaint):
        return (
            f"{path}:1: the corpus is too small for a vocabulary of {vocabulary}; "
            f"give more text, or ask for {most[1]} at most"
        )
    if least := re.search(r"required_chars\. \d+ vs (\d+)", complaint):
        return (
            f"{path}:1: the corpus has more characters than a vocabulary of {vocabulary} holds; "
            f"ask for more than {least[1]}"
        )
    return f"{path}:1: no tokenizer could be made of it: {complaint.splitlines()[0]}"


def wrapped(pieces: bytes, model_type: ModelType) -> PreTrainedTokenizerFast:
    """A SentencePiece model's bytes as a transformers tokenizer that gives the same ids.

    The texts of special tokens are those tokens here, as transformers has it everywhere.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    size = processor.get_piece_size()
    texts = [processor.id_to_piece(id_) for id_ in range(size)]
    scores = [processor.get_score(id_) for id_ in range(size)]
    plain = [not _is_set_apart(processor, id_) for id_ in range(size)]
    backend = Tokenizer(
        models.BPE(
            vocab={text: id_ for id_, text in enumerate(texts)},
            merges=_merges(texts, scores, plain),
            unk_token=SPECIALS["unk_token"],
            fuse_unk=True,
            byte_fallback=True,
        )
        if model_type == "bpe"
        else models.Unigram(
            list(zip(texts, _lowered(scores, plain), strict=True)),
            unk_id=processor.unk_id(),
            byte_fallback=True,
        )
    )
    # Cut there, no text is ever equal to the name of a byte's token, which some would take it for.
    bytes_apart = pre_tokenizers.Split(Regex("<(?=0x)"), "isolated")
    spaces = pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([bytes_apart, spaces])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in SPECIALS.values()]
    )
    backend.add_tokens([AddedToken("\n", special=False, normalized=False)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **SPECIALS
    )


def _is_set_apart(processor: Any, id_: int) -> bool:
    """Whether a piece is never made of other text: special, or a byte."""
    return bool(processor.is_control(id_) or processor.is_byte(id_) or processor.is_unknown(id_))


def _merges(
    texts: Sequence[str], scores: Sequence[float], plain: Sequence[bool]
) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the best-scored first, as SentencePiece merges."""
    known = {text: id_ for id_, text in enumerate(texts) if plain[id_]}
    found = [
        (-scores[id_], known[text[:cut]], known[text[cut:]], text[:cut], text[cut:])
        for text, id_ in known.items()
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def _lowered(scores: Sequence[float], plain: Sequence[bool]) -> list[float]:
    """The scores; pieces that no text may become get the worst, which leaves the others' order."""
    worst = min(score for score, is_plain in zip(scores, plain, strict=True) if is_plain)
    return [score if is_plain else worst for score, is_plain in zip(scores, plain, strict=True)]
