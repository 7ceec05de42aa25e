"""A session's log: order, resume, and clients that fall behind."""

import json

from npcserver.bounds import Bucket
from npcserver.protocol import PlayerInfo, PlayerLeft
from npcserver.session import Session


def session(keep: int = 10) -> Session:
    return Session(PlayerInfo(id="kit", name="Kit"), "quay", "main", keep, Bucket(1, 1))


def push(log: Session, *names: str) -> None:
    for name in names:
        log.push(PlayerLeft(player=name))


def read(log: Session) -> list[tuple[int, str]]:
    frames = []
    while batch := log.unsent():
        for frame in batch:
            message = json.loads(frame)
            frames.append((message["seq"], message["player"]))
            log.sent()
    return frames


def test_messages_are_numbered_in_order() -> None:
    log = session()
    log.attach(0, 100)
    push(log, "a", "b")
    assert read(log) == [(1, "a"), (2, "b")]
    push(log, "c")
    assert read(log) == [(3, "c")]


def test_a_resume_goes_on_after_what_the_client_saw() -> None:
    log = session()
    log.attach(0, 100)
    push(log, "a", "b", "c")
    read(log)
    log.detach()
    push(log, "d")
    assert log.can_resume(2)
    log.rewind(2, PlayerLeft(player="started"))
    log.attach(2, 100)
    assert read(log) == [(3, "started"), (4, "c"), (5, "d")]


def test_a_resume_before_what_is_kept_is_not_possible() -> None:
    log = session(keep=3)
    push(log, *"abcdef")
    assert [seq for seq in range(8) if log.can_resume(seq)] == [3, 4, 5, 6]


def test_a_resume_from_a_full_log_keeps_everything_missed() -> None:
    log = session(keep=3)
    push(log, *"abcdef")
    log.rewind(3, PlayerLeft(player="started"))
    log.attach(3, 100)
    assert read(log) == [(4, "started"), (5, "d"), (6, "e"), (7, "f")]


def test_falling_behind_is_noticed_but_what_was_missed_does_not_count() -> None:
    log = session(keep=100)
    push(log, *"abcdefgh")
    log.attach(0, 2)
    push(log, "i", "j")
    assert not log.overflow.is_set()
    push(log, "k")
    assert log.overflow.is_set()
    log.detach()
    log.attach(11, 2)
    assert not log.overflow.is_set()
