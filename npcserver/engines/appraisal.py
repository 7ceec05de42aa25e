"""What a converted model is: how it reads prompts, how much it takes, what conversion did to it.

Run as a program, because models take memory that only the end of a process gives back. Prints a
JSON object for `model.json`:

    python -m npcserver.engines.appraisal FOLDER SOURCE

SOURCE is the GGUF file or folder that it was converted from. Its own perplexity is measured by
transformers, and left out where that is not installed.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

from npcserver import conversion
from npcserver.engines.chat import of_openvino
from npcserver.engines.echo import Echo
from npcserver.engines.openvino import PROPERTIES
from npcserver.engines.vocabulary import Ids, Tokens

PASSAGES = (
    "The ferry left late that morning, because the ferryman had lost his cap and would not sail "
    'without it. "It keeps the rain out of my eyes," he said, "and the rain knows it." Nobody '
    "argued. Two women with a crate of hens sat down on the steps, and a boy asked what it would "
    "cost to cross with a goat. The ferryman looked at the goat for a while. Then he said that "
    "goats paid half, unless they talked.",
    "那天早上渡船开得晚，因为船夫找不到他的帽子。“没有帽子我不开船，”他说，“雨会落进我的眼睛里。”"
    "大家都没有说话。两个女人提着一笼母鸡坐在台阶上，一个男孩问带一只羊过河要多少钱。"
    "船夫看了看那只羊，说羊只收半价，除非它会说话。",
)
"""Plain prose in both of our languages, long enough to tell a broken model from a whole one."""


def appraised(folder: Path, source: Path) -> dict[str, Any]:
    """Template, context, and perplexity before and after."""
    echo = Echo(folder, PROPERTIES)
    tokenizer = echo.pipeline.get_tokenizer()
    tokens = Tokens(tokenizer)
    texts = [tokens.encode(passage) for passage in PASSAGES]
    told: dict[str, Any] = {
        "template": of_openvino(tokenizer, tokens.specials),
        "context_tokens": conversion.context_tokens(source),
        "perplexity": {"converted": round(echo.perplexity(texts), 3)},
    }
    del echo
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        place = folder if source.is_file() else source
        told["perplexity"]["source"] = round(perplexity_of_source(place, texts), 3)
    return told


def perplexity_of_source(place: Path, texts: list[Ids]) -> float:
    """Of the weights as they came, in the precision they came in."""
    import torch  # noqa: PLC0415 - heavy, and not installed everywhere

    from npcserver.engines.torch_weights import load_weights  # noqa: PLC0415 - imports torch

    model = load_weights(place, "auto")
    losses = []
    with torch.no_grad():
        for ids in texts:
            row = torch.tensor([ids])
            logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
            losses += torch.nn.functional.cross_entropy(
                logits, row[0, 1:], reduction="none"
            ).tolist()
    return math.exp(math.fsum(losses) / len(losses))


if __name__ == "__main__":
    print(json.dumps(appraised(*map(Path, sys.argv[1:]))))
