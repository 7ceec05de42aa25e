"""Rows: several examples at once get the losses, and give the gradients, they would have alone."""

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetune import attention, rows
from finetune.examples import Example
from finetune.objective import Tally, row_loss

WEIGHTS = {"emotion": 0.5, "action": 1.0, "words": 2.0}
VOCABULARY = 60


@pytest.fixture(scope="module", params=["forest", "sdpa"])
def model(request: pytest.FixtureRequest) -> LlamaForCausalLM:
    attention.register()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        attn_implementation=request.param,
    )
    return LlamaForCausalLM(config).double()


def examples(count: int, trunks: int = 3, seed: int = 0) -> list[Example]:
    draw = random.Random(seed)
    begun = [
        [draw.randrange(VOCABULARY) for _ in range(draw.randint(3, 12))] for _ in range(trunks)
    ]
    made = []
    for number in range(count):
        trunk = begun[number % trunks]
        read = draw.choices(range(VOCABULARY), k=draw.randint(0, 9))
        said = draw.choices(range(VOCABULARY), k=draw.randint(1, 9))
        slots = [None] * len(trunk + read) + [draw.choice(list(WEIGHTS)) for _ in said]
        made.append(Example(trunk + read + said, slots, len(trunk), [f"file:{number}"]))
    return made


def laid_out(forests: list[rows.Forest]) -> list[rows.Row]:
    return [rows.make_row(forest, WEIGHTS) for forest in forests]


def tally(model: LlamaForCausalLM, some: list[rows.Row]) -> Tally:
    whole = Tally()
    for row in some:
        got = row_loss(model, row)
        got.total.backward()
        whole.add(row, got)
    return whole


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_packed_and_alone_give_the_same(model: LlamaForCausalLM, tokens: int) -> None:
    some = examples(12)
    found = []
    for laid in (laid_out(rows.alone(some, 1)), laid_out(rows.packed(some, tokens, 1))):
        model.zero_grad()
        found.append((tally(model, laid), [p.grad.clone() for p in model.parameters()]))
    (alone, alone_gradients), (packed, packed_gradients) = found
    assert packed.sums() == pytest.approx(alone.sums())
    for one, other in zip(alone_gradients, packed_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_alone_is_what_a_plain_forward_pass_gives(model: LlamaForCausalLM) -> None:
    example = examples(1)[0]
    (row,) = laid_out(rows.alone([example], 0))
    logits = model(torch.tensor([example.ids])).logits[0]
    expected = [
        torch.nn.functional.cross_entropy(logits[at - 1], torch.tensor(example.ids[at]))
        for at, slot in enumerate(example.slots)
        if slot
    ]
    torch.testing.assert_close(row_loss(model, row).losses, torch.stack(expected).float())


def test_a_trunk_is_laid_out_once() -> None:
    some = examples(12, trunks=1)
    (row,) = laid_out(rows.packed(some, 10_000, 1))
    trunk = some[0].trunk
    assert len(row.ids) == trunk + sum(len(each.ids) - trunk for each in some)
    assert row.read == sum(len(each.ids) for each in some)


def test_rows_hold_every_example_once_and_no_more_than_fits() -> None:
    some = examples(40)
    laid = laid_out(rows.packed(some, 64, 3))
    assert sum(row.read for row in laid) == sum(len(each.ids) for each in some)
    assert all(len(row.ids) <= 64 for row in laid)


def test_the_seed_alone_decides_the_order() -> None:
    some = examples(40)
    orders = [
        [row.ids.tolist() for row in laid_out(rows.packed(some, 64, seed))] for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_slot_of_no_weight_is_only_read() -> None:
    row = rows.make_row(rows.alone(examples(1), 0)[0], WEIGHTS | {"words": 0.0})
    assert rows.SLOTS.index("words") not in row.slots.tolist()


def test_a_blank_row_counts_for_nothing(model: LlamaForCausalLM) -> None:
    row = laid_out(rows.packed(examples(4), 10_000, 0))[0].blank()
    model.zero_grad()
    whole = tally(model, [row])
    assert whole.weight == 0
    assert all(not parameter.grad.any() for parameter in model.parameters())
