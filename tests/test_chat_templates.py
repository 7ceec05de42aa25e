"""A model's own chat template, learned once, writes what the template itself would."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from npcserver.engines import chat
from npcserver.engines.base import Message, Prompt
from npcserver.engines.render import template
from npcserver.errors import ModelError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "<s>{% for m in messages %}<|head|>{{ m.role }}<|tail|>\n\n{{ m.content | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|tail|>\n\n{% endif %}"
)
GEMMA = (
    "<s>{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}<start>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content }}<end>\n{% endfor %}{% if add_generation_prompt %}<start>model\n{% endif %}"
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
    "<s>{% for m in rest %}{% if m.role == 'user' %}[INST] {{ sys if loop.first else '' }}"
    "{{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
COUNTING = "{% for m in messages %}<{{ loop.index }}>{{ m.content }}</s>{% endfor %}"
SPECIALS = ("<|im_end|>", "<|im_start|>", "<|head|>", "<|tail|>", "<|eot|>")
SPECIALS += ("<start>", "<end>", "<s>", "</s>")
TALK = ["You are Ada.", "Hello.", "What now?", "Is the gate open?", "No."]


def tokenizer(written: str | None) -> Any:
    """A tokenizer of bytes that has this chat template."""
    letters = {letter: id_ for id_, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    backend = Tokenizer(models.BPE(vocab=letters, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")  # type: ignore[no-untyped-call]
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    made.chat_template = written
    return made


@pytest.mark.parametrize(
    ("written", "end"),
    [
        (CHATML, "<|im_end|>"),
        (LLAMA, "<|eot|>"),
        (GEMMA, "<end>"),
        (MISTRAL, "</s>"),
        (THINKING, "<|im_end|>"),
    ],
)
@pytest.mark.parametrize("with_system", [True, False])
def test_it_writes_what_the_template_writes(written: str, end: str, with_system: bool) -> None:
    own = tokenizer(written)
    told = json.loads(json.dumps(chat.of_transformers(own, sorted(SPECIALS))))
    learned = template(told)
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    chat_roles, texts = (roles, [*TALK, "And now?"]) if with_system else (roles[1:], TALK)
    messages = [Message(r, t) for r, t in zip(chat_roles, texts, strict=True)]  # type: ignore[arg-type]
    asked = [{"role": m.role, "content": m.text} for m in messages]
    if with_system and written == GEMMA:
        asked = [{"role": "user", "content": f"{texts[0]}\n\n{texts[1]}"}, *asked[2:]]
    wanted = own.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert learned.text(Prompt(tuple(messages), "Ada:")) == wanted + "Ada:"
    assert learned.end == end


def test_a_longer_prompt_begins_with_the_shorter_one() -> None:
    learned = template(chat.of_transformers(tokenizer(LLAMA), SPECIALS))
    messages = (Message("system", "You are Ada."), Message("user", "Hello."))
    whole = learned.text(Prompt((*messages, Message("assistant", "What now?")), ""))
    assert whole.startswith(learned.text(Prompt(messages, "")))
    assert whole.endswith("Hello.<|eot|><|head|>assistant<|tail|>\n\nWhat now?")


def test_orders_that_no_template_knows_are_written_all_the_same() -> None:
    learned = template(chat.of_transformers(tokenizer(CHATML), SPECIALS))
    odd = (Message("user", "a"), Message("user", "b"), Message("system", "c"))
    text = learned.text(Prompt((*odd, Message("assistant", "d")), "Ada:"))
    assert [text.index(letter) for letter in "abcd"] == sorted(text.index(x) for x in "abcd")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\nAda:")


@pytest.mark.parametrize("written", [None, COUNTING, "{{ messages[9].content }}", "{% broken"])
def test_what_cannot_be_learned_is_a_transcript(written: str | None) -> None:
    assert chat.of_transformers(tokenizer(written), SPECIALS) == "script"


@pytest.mark.parametrize("told", ["llama", 3, {"steps": {}, "end": "x"}, {"end": "x"}])
def test_a_wrong_template_in_model_json_is_told(told: object) -> None:
    with pytest.raises(ModelError, match="template is neither"):
        template(told)
