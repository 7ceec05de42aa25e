"""What was asked for before, and so most likely lies in an engine's cache."""

from collections import OrderedDict

from npcserver.engines.vocabulary import Ids

REMEMBERED_BLOCKS = 100_000


def note(seen: OrderedDict[int, None], key: int, most: int) -> None:
    """Remember a key as the newest of at most `most`."""
    seen[key] = None
    seen.move_to_end(key)
    if len(seen) > most:
        seen.popitem(last=False)


class AskedBlocks:
    """The blocks of prompts that were asked for.

    Pipelines do not tell what they found in their cache; this counts the leading blocks that were
    asked for before, which is what they cache unless they had to make room.
    """

    def __init__(self, block: int) -> None:
        """Args: block: tokens in a block of the cache."""
        self._block = block
        self._seen: OrderedDict[int, None] = OrderedDict()

    def usage(self, ids: Ids) -> dict[str, int]:
        """Tokens of a prompt, and how many were computed before. From now on, all were."""
        cached, key, known = 0, 0, True
        for start in range(0, len(ids) - self._block, self._block):
            key = hash((key, *ids[start : start + self._block]))
            known = known and key in self._seen
            cached += self._block * known
            note(self._seen, key, REMEMBERED_BLOCKS)
        return {"prompt_tokens": len(ids), "cached_tokens": cached, "completion_tokens": 0}
