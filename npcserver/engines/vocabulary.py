"""A model's tokenizer, down to the bytes of each token. Knows no prompts and no pipeline."""

import re
from typing import Any

Ids = list[int]


class Tokens:
    """The model's tokenizer, down to bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.bytes_of: dict[int, bytes] = {token: text for text, token in vocabulary.items()}
        self.eos = int(tokenizer.get_eos_token_id())
        texts = [text.decode() for text in vocabulary if re.fullmatch(rb"<[^<>\s]+>", text)]
        self.specials = [text for text in texts if len(self.encode(text)) == 1]
        self.special_ids = {self.encode(text)[0] for text in self.specials} | {self.eos}

    def encode(self, text: str) -> Ids:
        """ids (T,)"""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [int(token) for token in encoded.input_ids.data[0]]

    def with_empty_line(self, ids: Ids) -> Ids:
        """The same text with an empty line before its last one. ids (T,) → (T + 1,)"""
        newline = self.encode("\n")[0]
        last = len(ids) - 1 - ids[::-1].index(newline) if newline in ids else 0
        return [*ids[:last], newline, *ids[last:]]
