"""Models of several families, from a folder of safetensors to an engine that speaks."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from npcserver import inventory, models
from npcserver.engines import host
from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.engines.chat import of_transformers
from npcserver.engines.render import template
from npcserver.errors import ModelError
from npcserver.prompt import PROMPT_VERSION
from tests.invented import corpus
from tests.test_chat_templates import CHATML

SIZES: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "eos_token_id": 1,
    "bos_token_id": None,
    "pad_token_id": None,
}
FAMILIES = {
    "llama": LlamaConfig,
    "mistral": lambda **sizes: MistralConfig(**sizes, sliding_window=None),
    "qwen2": Qwen2Config,
    "qwen3": lambda **sizes: Qwen3Config(**sizes, head_dim=32),
}
QWEN_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ASKED = Prompt(
    (Message("system", "keludo varra"), Message("user", "Kit: 茶 sonisem mit, the salt road.")),
    "Ada:",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of Qwen's kind, with a chat template."""
    backend = Tokenizer(kinds.BPE())
    cut = pre_tokenizers.Split(Regex(QWEN_CUT), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    backend.train(
        [str(corpus(tmp_path_factory.mktemp("corpus")))],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=specials[1])  # type: ignore[no-untyped-call]
    made.add_special_tokens({"additional_special_tokens": [specials[2]]})
    made.chat_template = CHATML
    return made


def saved(folder: Path, family: str, tokenizer: Any, **changed: Any) -> Path:
    """A model of that family with weights as they were drawn."""
    torch.manual_seed(3)
    config = FAMILIES[family](**SIZES | changed)
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.15)
        elif "bias" in name or "norm" in name:  # else nobody would miss them
            torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_safetensors_is_served(family: str, tokenizer: Any, tmp_path: Path) -> None:
    source = saved(tmp_path / family, family, tokenizer)
    folder = models.resolve(str(source))
    told = models.facts(folder)
    assert told["context_tokens"] == 512
    assert told["template"] == of_transformers(tokenizer, ["<|im_end|>", "<|im_start|>"])
    assert told["perplexity"]["converted"] == pytest.approx(told["perplexity"]["source"], rel=0.02)
    ids = AutoTokenizer.from_pretrained(source).encode(
        template(told["template"]).text(ASKED), add_special_tokens=False
    )
    options = [" mit", " kelu", " soni"]
    text, probabilities = asyncio.run(asked_of(folder, options))
    assert probabilities == pytest.approx(wanted(source, ids, options), abs=0.02)
    assert text
    assert models.resolve(str(source)) == folder
    shown = inventory.list_models()[-1]
    assert (shown.name, shown.folder) == (family, folder)
    assert "before" in shown.about
    assert [gone.folder for gone in inventory.clean()] == [folder]
    assert not folder.exists()
    assert source.exists()


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_an_adapter_is_merged_into_what_was_converted(
    family: str, tokenizer: Any, tmp_path: Path
) -> None:
    source, adapter = saved(tmp_path / family, family, tokenizer), tmp_path / "adapter"
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "k_proj", "up_proj"], task_type="CAUSAL_LM")
    tuned: Any = get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.15)
    tuned.save_pretrained(adapter)
    base = {"sha256": models.digest_of(sorted(source.glob("*.safetensors")))}
    about = {"prompt_version": PROMPT_VERSION, "base": base}
    (adapter / "model.json").write_text(json.dumps(about))
    tuned.merge_and_unload().save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")

    folder = models.resolve(str(source), adapter, PROMPT_VERSION)
    told = models.facts(folder)
    assert "perplexity" not in told
    ids = tokenizer.encode(template(told["template"]).text(ASKED), add_special_tokens=False)
    options = [" mit", " kelu", " soni"]
    _, probabilities = asyncio.run(asked_of(folder, options))
    assert probabilities == pytest.approx(wanted(tmp_path / "whole", ids, options), abs=0.03)
    assert probabilities != pytest.approx(wanted(source, ids, options), abs=0.05)


async def asked_of(folder: Path, options: list[str]) -> tuple[str, list[float]]:
    engine = host.openvino(folder, cache_gb=1)
    await engine.start()
    try:
        greedy = Sampling(max_tokens=8, temperature=0, stop=())
        text = "".join([piece.text async for piece in engine.generate(ASKED, greedy)])
        return text, list((await engine.decide(ASKED, options)).probabilities)
    finally:
        await engine.close()


@torch.no_grad()
def wanted(source: Path, ids: list[int], options: list[str]) -> list[float]:
    """The options' odds by transformers; each is told from the others by its first token."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    firsts = [tokenizer.encode(option, add_special_tokens=False)[0] for option in options]
    assert len(set(firsts)) == len(firsts)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return list(logits[firsts].softmax(-1).tolist())


def test_a_repository_in_the_hub_s_cache_is_served(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as hub  # noqa: PLC0415 - only this test looks into it

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "hub" / "models--studio--smith"
    saved(kept / "snapshots" / "abc", "llama", tokenizer)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    folder = models.resolve("studio/smith")
    assert json.loads((folder / "model.json").read_text())["context_tokens"] == 512
    with pytest.raises(ModelError, match="the hub gave none"):
        models.resolve("studio/nobody")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rotary"),
        ({"attention_bias": True}, "biases in its attention"),
        ({"mlp_bias": True}, "biases in its MLP"),
    ],
)
def test_what_the_reader_would_leave_out_is_refused(
    changed: dict[str, Any], said: str, tokenizer: Any, tmp_path: Path
) -> None:
    source = saved(tmp_path / "odd", "llama", tokenizer, **changed)
    with pytest.raises(ModelError, match=said):
        models.resolve(str(source))


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nor such a repository"):
        models.resolve(str(tmp_path))
