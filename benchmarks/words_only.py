"""npcserver with replies of one length and no decisions, for comparison with engines alone.

    python benchmarks/words_only.py --tokens 64 --port 0 --data FOLDER

Everything else is the server's own: sockets, scenes, journal, prompts, guard, the engine's process.
Punctuation is taken out of the words, so that no guard and no stop ends a reply before its length.
"""

import argparse
import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

from npcserver import serving
from npcserver.config import load
from npcserver.engines import choice
from npcserver.engines.base import Decision, Engine, Piece, Prompt, Sampling


class WordsOnly:
    """An engine that decides nothing and never stops early."""

    def __init__(self, engine: Engine, tokens: int) -> None:
        self._engine = engine
        self._tokens = tokens
        self.start, self.close, self.warm = engine.start, engine.close, engine.warm
        self.count, self.status = engine.count, engine.status

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream as many tokens as were asked for."""
        long = replace(sampling, stop=(), max_tokens=self._tokens)
        async for piece in self._engine.generate(prompt, long):
            yield replace(piece, text=re.sub(r"[^\w ]", " ", piece.text))

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """The first, at once."""
        return Decision((1.0, *(0.0 for _ in options[1:])))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, default=Path("scenes"))
    options = parser.parse_args()
    choose = choice.choose

    def words_only(*args: object) -> choice.Choice:
        chosen = choose(*args)  # type: ignore[arg-type]
        return replace(chosen, engine=WordsOnly(chosen.engine, options.tokens))

    choice.choose = words_only  # type: ignore[assignment]
    settings = load({"port": options.port, "data": options.data, "scenes": options.scenes})
    serving.run(
        settings,
        lambda url, *_: print(f"npcserver is ready: {url}", flush=True),
        time.perf_counter(),
    )


if __name__ == "__main__":
    main()
