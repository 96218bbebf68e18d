"""The slot between two threads: newest only, or none skipped; and it always lets everybody go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stream.latest import Latest

PATIENCE_S = 20.0
"""For what must happen on a busy machine too; nothing waits so long when all is well."""


class Caught(threading.Thread):
    """A thread whose end can be waited for, with what it returned or raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001
            self.result = error

    def ended(self) -> object:
        self.join(PATIENCE_S)
        assert not self.is_alive(), "it waits for ever"
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@contextmanager
def closing(*slots: Latest[int]) -> Iterator[None]:
    """No thread outlives a test that fails."""
    try:
        yield
    finally:
        for slot in slots:
            slot.close()


def waits(thread: threading.Thread) -> bool:
    thread.join(0.05)
    return thread.is_alive()


def test_a_closed_slot_takes_nothing_and_keeps_what_it_had() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    slot.close()
    assert slot.put(2) is False
    assert slot.hand(3) is False
    assert slot.peek() == 1
    assert slot.version == 1


def test_closing_twice_is_closing_once() -> None:
    slot: Latest[int] = Latest()
    slot.close()
    slot.close()
    assert list(slot.follow()) == []


def test_closing_ends_every_follower_that_waits() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        followers = [Caught(lambda: list(slot.follow())) for _ in range(5)]
        assert all(waits(follower) for follower in followers)
    assert [follower.ended() for follower in followers] == [[]] * 5


def test_closing_lets_a_producer_go_that_waits_for_its_item_to_be_taken() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        assert slot.hand(1)
        producers = [Caught(lambda: slot.hand(2)) for _ in range(3)]
        assert all(waits(producer) for producer in producers)
    assert [producer.ended() for producer in producers] == [False] * 3
    assert slot.peek() == 1


def test_the_last_item_before_the_close_is_delivered() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    slot.put(2)
    slot.close()
    assert list(slot.follow()) == [2]
    assert list(slot.ticks(0.0)) == [2]
    assert list(slot.ticks(None, seen=2)) == []


def test_a_slow_reader_skips_and_never_queues() -> None:
    slot: Latest[int] = Latest()
    items = slot.follow()
    slot.put(1)
    assert next(items) == 1
    for item in range(2, 100):
        slot.put(item)
    assert next(items) == 99
    slot.close()
    assert list(items) == []


def test_put_never_waits_for_a_reader() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        assert Caught(lambda: [slot.put(item) for item in range(1000)]).ended() == [True] * 1000
    assert slot.version == 1000


def test_an_item_is_given_to_a_follower_once_also_if_it_is_put_again() -> None:
    slot: Latest[int] = Latest()
    slot.put(7)
    items = slot.ticks(0.001)
    assert [next(items), next(items), next(items)] == [7, None, None]
    slot.put(7)
    assert [next(items), next(items)] == [7, None]
    slot.close()


def test_every_follower_gets_the_newest() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    followers = [slot.follow() for _ in range(4)]
    assert [next(follower) for follower in followers] == [1] * 4
    slot.put(2)
    slot.put(3)
    assert [next(follower) for follower in followers] == [3] * 4
    slot.close()


def test_a_follower_that_has_seen_a_version_gets_only_what_is_newer() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    items = slot.ticks(0.001, seen=slot.version)
    assert next(items) is None
    slot.put(2)
    assert next(items) == 2
    slot.close()


def test_when_nothing_comes_a_tick_does() -> None:
    slot: Latest[int] = Latest()
    started_s = time.monotonic()
    ticks = slot.ticks(0.02)
    assert [next(ticks) for _ in range(5)] == [None] * 5
    assert time.monotonic() - started_s >= 0.1
    slot.close()
    assert list(ticks) == []


def test_peek_never_waits_and_takes_nothing() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        assert slot.peek() is None
        assert slot.version == 0
        slot.hand(1)
        assert slot.peek() == slot.peek() == 1
        producer = Caught(lambda: slot.hand(2))
        assert waits(producer), "peeking is not taking"
        assert next(slot.follow()) == 1
        assert producer.ended() is True


def test_a_hand_waits_until_the_item_before_is_taken_and_not_longer() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        assert Caught(lambda: slot.hand(1)).ended() is True, "nothing was there before"
        producer = Caught(lambda: slot.hand(2))
        assert waits(producer)
        items = slot.follow()
        assert next(items) == 1
        assert producer.ended() is True
        assert next(items) == 2


def test_with_many_followers_it_is_enough_that_one_has_taken_it() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        quick, slow = slot.follow(), slot.follow()
        for item in range(5):
            assert Caught(lambda item=item: slot.hand(item)).ended() is True  # type: ignore[misc]
            assert next(quick) == item
        assert next(slow) == 4


def test_a_late_follower_does_not_make_an_item_untaken() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        slot.hand(1)
        assert next(slot.follow()) == 1
        assert next(slot.follow()) == 1
        assert Caught(lambda: slot.hand(2)).ended() is True


def test_what_is_handed_over_is_never_skipped() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        follower = Caught(lambda: list(slot.follow()))
        assert all(slot.hand(item) for item in range(5000))
    assert follower.ended() == list(range(5000))


def test_an_exception_in_a_follower_frees_the_slot() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        slot.put(1)

        def fail() -> None:
            for _ in slot.follow():
                raise ValueError("of the follower")

        with pytest.raises(ValueError, match="of the follower"):
            Caught(fail).ended()
        assert Caught(lambda: slot.put(2)).ended() is True
        assert Caught(lambda: next(slot.follow())).ended() == 2


def test_a_follower_that_leaves_early_frees_the_slot() -> None:
    slot: Latest[int] = Latest()
    with closing(slot):
        slot.put(1)
        items = slot.ticks(None)
        next(items)
        del items
        assert Caught(lambda: slot.put(2)).ended() is True


def test_many_threads_see_items_in_order_and_all_of_them_the_last() -> None:
    slot: Latest[tuple[int, int]] = Latest()
    producers, readers, items = 4, 8, 2000
    done = threading.Barrier(producers + 1)

    def produce(producer: int) -> None:
        for item in range(items):
            assert slot.put((producer, item))
        done.wait(PATIENCE_S)

    def read(idle_s: float | None) -> tuple[int, int] | None:
        newest = [-1] * producers
        last = None
        for pair in slot.ticks(idle_s):
            if pair is None:
                continue
            producer, item = pair
            assert item > newest[producer], "an older item came after a newer one"
            newest[producer], last = item, pair
        return last

    followers = [Caught(lambda idle_s=idle_s: read(idle_s)) for idle_s in (None, 0.001) * (readers // 2)]  # type: ignore[misc]
    workers = [Caught(lambda number=number: produce(number)) for number in range(producers)]  # type: ignore[misc]
    try:
        done.wait(PATIENCE_S)
    finally:
        slot.close()
    for worker in workers:
        worker.ended()
    assert slot.version == producers * items
    assert [follower.ended() for follower in followers] == [slot.peek()] * readers


def test_many_producers_that_hand_over_lose_nothing() -> None:
    slot: Latest[int] = Latest()
    follower = Caught(lambda: list(slot.follow()))
    with closing(slot):
        workers = [
            Caught(lambda start=start: [slot.hand(start + item) for item in range(300)])  # type: ignore[misc]
            for start in (0, 1000, 2000)
        ]
        for worker in workers:
            assert worker.ended() == [True] * 300
    taken = follower.ended()
    assert isinstance(taken, list)
    assert sorted(taken) == [start + item for start in (0, 1000, 2000) for item in range(300)]
