"""A model's tokenizer, down to the bytes of each token. Knows no prompts and no pipeline."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Ids = list[int]

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece names the token of a byte."""
SPACE = "▁"
"""How SentencePiece writes a space."""


def special_texts(vocabulary: Iterable[str], encode: Callable[[str], Ids]) -> list[str]:
    """The texts of a vocabulary that become one special token: `<|im_end|>`, `</s>`."""
    marked = (
        text
        for text in vocabulary
        if re.fullmatch(r"<[^<>\s]+>", text) and not BYTE.fullmatch(text)
    )
    return sorted(text for text in marked if len(encode(text)) == 1)


def raw_bytes(vocabulary: Mapping[bytes, int]) -> dict[int, bytes]:
    """What each token stands for, in bytes; SentencePiece's own writing undone."""
    if b"<0x00>" not in vocabulary:
        return {token: text for text, token in vocabulary.items()}
    named = {token: text.decode() for text, token in vocabulary.items()}
    return {
        token: bytes.fromhex(byte[1])
        if (byte := BYTE.fullmatch(text))
        else text.replace(SPACE, " ").encode()
        for token, text in named.items()
    }


class Tokens:
    """The model's tokenizer, down to bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.bytes_of = raw_bytes(vocabulary)
        self.written: dict[int, bytes] = {token: text for text, token in vocabulary.items()}
        """Each token as the vocabulary writes it, which is how grammars mean it."""
        self._by_text: dict[bytes, list[int]] = {}
        for token, text in self.written.items():
            self._by_text.setdefault(text, []).append(token)
        self.eos = int(tokenizer.get_eos_token_id())
        texts = (text.decode(errors="replace") for text in vocabulary)
        self.specials = special_texts(texts, self.encode)
        self.special_ids = {self.encode(text)[0] for text in self.specials} | {self.eos}

    def encode(self, text: str) -> Ids:
        """ids (T,)"""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [int(token) for token in encoded.input_ids.data[0]]

    def token_bytes(self, token: int) -> bytes:
        """A token's bytes, a part of a character perhaps; none where the tokenizer knows it not."""
        return self.bytes_of.get(token, b"")

    def beginnings(self, token: int) -> set[int]:
        """Every other token that the token's text, as the vocabulary writes it, can begin with."""
        text = self.written[token]
        sizes = range(1, len(text) + 1)
        return {found for size in sizes for found in self._by_text.get(text[:size], ())} - {token}
