"""Tokens: what is signed is believed, and nothing else."""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from npcserver import tokens
from npcserver.errors import Closed

SECRET = "thirty-two characters, or some more"
NOW = 1_800_000_000.0
CLAIMS = {"sub": "kit", "role": "player", "scene": "quay", "exp": int(NOW) + 60}


def signed(claims: Any, secret: str = SECRET, **options: Any) -> str:
    return jwt.encode(claims, secret, **{"algorithm": "HS256", **options})


def refusal(token: str, now: float = NOW) -> Closed:
    with pytest.raises(Closed) as caught:
        tokens.verify(SECRET, token, now)
    assert caught.value.close_code == 1008
    return caught.value


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("role", ["player", "host", "admin"])
def test_what_is_issued_is_what_is_read(role: Any) -> None:
    token = tokens.issue(SECRET, player="kit", role=role, scene="*", hours=0.5, now=NOW)
    claims = tokens.verify(SECRET, token, NOW)
    assert claims == tokens.Claims(sub="kit", role=role, scene="*", exp=int(NOW) + 1800)


def test_the_clock_is_the_real_one_unless_another_is_given() -> None:
    token = tokens.issue(SECRET, player="kit", role="player", scene="*", hours=1)
    assert tokens.verify(SECRET, token).sub == "kit"
    old = tokens.issue(SECRET, player="kit", role="player", scene="*", hours=1, now=0)
    with pytest.raises(Closed, match="expired"):
        tokens.verify(SECRET, old)


def test_it_ends_on_the_second_and_no_later() -> None:
    token = signed(CLAIMS)
    assert tokens.verify(SECRET, token, CLAIMS["exp"] - 0.001)
    assert refusal(token, CLAIMS["exp"]).code == "token_expired"


def test_an_old_token_of_a_stranger_is_bad_and_not_merely_expired() -> None:
    token = signed({**CLAIMS, "exp": 1}, "another secret of thirty-two chars.")
    assert refusal(token).code == "bad_token"


def test_claims_changed_after_signing_are_refused() -> None:
    head, _, signature = signed(CLAIMS).split(".")
    token = f"{head}.{part({**CLAIMS, 'role': 'admin'})}.{signature}"
    assert refusal(token).code == "bad_token"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "RS256"])
def test_the_token_does_not_choose_its_algorithm(algorithm: str) -> None:
    _, payload, signature = signed(CLAIMS).split(".")
    head = part({"alg": algorithm, "typ": "JWT"})
    assert refusal(f"{head}.{payload}.").code == "bad_token"
    assert refusal(f"{head}.{payload}.{signature}").code == "bad_token"


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_must_be_there(claim: str) -> None:
    token = signed({name: value for name, value in CLAIMS.items() if name != claim})
    assert refusal(token).code == "bad_token"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "a b"},
        {"sub": ""},
        {"sub": "x" * 65},
        {"role": "root"},
        {"role": ["admin"]},
        {"scene": None},
        {"scene": ["quay"]},
        {"exp": "tomorrow"},
        {"exp": str(int(NOW) + 60)},
        {"exp": NOW + 60.5},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"aud": "another service"},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_claims_of_other_types_are_refused(claims: dict[str, Any]) -> None:
    assert refusal(signed({**CLAIMS, **claims})).code == "bad_token"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "é.é.é", "\ud800", "x" * 100_000, part([[[[]]]]) + ".e30."]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refusal(token).code == "bad_token"


@given(st.text(max_size=200))
def test_no_text_does_anything_but_be_refused(token: str) -> None:
    refusal(token)


def test_an_id_that_no_player_can_have_is_not_signed() -> None:
    with pytest.raises(ValidationError):
        tokens.issue(SECRET, player="two words", role="player", scene="*", hours=1)
