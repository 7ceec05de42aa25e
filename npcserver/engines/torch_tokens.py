"""A transformers tokenizer as engines take it, down to the bytes of each token.

Knows no prompts and no models; imports neither torch nor transformers.
"""

import json
from collections.abc import Iterable
from typing import Any

from npcserver.engines.vocabulary import Ids, raw_bytes, special_texts

PRINTED = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100))
"""The bytes that byte-level tokenizers write as themselves."""


def byte_letters() -> dict[str, int]:
    """Byte-level tokenizers write each byte as one letter; which byte a letter is."""
    others = [byte for byte in range(256) if byte not in PRINTED]
    letters = {chr(byte): byte for byte in PRINTED}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


class TorchTokens:
    """The model's tokenizer.

    Args:
        more_ends: tokens that end a reply, besides those the tokenizer calls special.
    """

    def __init__(self, tokenizer: Any, more_ends: Iterable[int] = ()) -> None:
        self._tokenizer = tokenizer
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.specials = special_texts(vocabulary, self.encode)
        added = tokenizer.added_tokens_decoder
        self.special_ids = (
            {self.encode(text)[0] for text in self.specials}
            | {token for token, how in added.items() if how.special}
            | set(tokenizer.all_special_ids)
            | set(more_ends)
        )
        self._bytes = self._all_bytes(vocabulary, frozenset(added))

    def _all_bytes(self, vocabulary: dict[str, int], added: frozenset[int]) -> dict[int, bytes]:
        decoder = json.loads(self._tokenizer.backend_tokenizer.to_str())["decoder"]
        if "ByteLevel" not in json.dumps(decoder):
            return raw_bytes({text.encode(): token for text, token in vocabulary.items()})
        letters = byte_letters()
        return {
            # What was added to the vocabulary stands there as it is.
            token: text.encode() if token in added else bytes(letters[letter] for letter in text)
            for text, token in vocabulary.items()
        }

    def encode(self, text: str) -> Ids:
        """ids (T,)"""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def token_bytes(self, token: int) -> bytes:
        """A token's bytes; none where the model has more tokens than its tokenizer."""
        return self._bytes.get(token, b"")
