from __future__ import annotations

from dataclasses import replace

from rayctl.selfhost.plan import HEAD, HEARTBEAT_S, LONG_LIFE_S, MAX_DELAY_S, RESIDENT, Part, Seen, delay_s, died, plan

UP = 100.0


def running(name: str, **fields: object) -> Part:
    return replace(Part(name, alive=True, started_at=UP), **fields)  # type: ignore[arg-type]


def seen(**fields: object) -> Seen:
    base = Seen(running(HEAD), running(RESIDENT), head_ready=True, services="ready", heartbeat_at=UP, ever_ready=True)
    return replace(base, **fields)  # type: ignore[arg-type]


def test_first_pass_starts_both_at_once() -> None:
    decided = plan(Seen(Part(HEAD), Part(RESIDENT)), UP)
    assert (decided.stop, decided.start, decided.state) == ((), (HEAD, RESIDENT), "starting")


def test_attached_starts_the_resident_only() -> None:
    assert plan(Seen(None, Part(RESIDENT)), UP).start == (RESIDENT,)


def test_healthy_means_nothing_to_do() -> None:
    decided = plan(seen(), UP + 1)
    assert (decided.stop, decided.start, decided.state, decided.reason) == ((), (), "ready", "")


def test_services_are_the_last_condition() -> None:
    assert plan(seen(services="starting", services_reason="starting the gateway"), UP + 1).reason == (
        "starting the gateway"
    )
    assert plan(seen(services="starting", head_ready=False), UP + 1).reason == "waiting for the Ray head"


def test_dead_head_takes_the_resident_along_without_delay() -> None:
    head = died(running(HEAD), UP + 200, "killed by SIGKILL")
    decided = plan(seen(head=head), UP + 200)
    assert (decided.stop, decided.start) == ((RESIDENT,), (HEAD, RESIDENT))
    assert "SIGKILL" in decided.reason


def test_head_that_dies_again_and_again_waits_longer() -> None:
    head = replace(died(running(HEAD, failures=3), UP + 5, "exit code 1"))
    assert head.failures == 4
    waiting = plan(seen(head=head, resident=replace(running(RESIDENT), alive=False)), UP + 6)
    assert waiting.start == ()
    assert "next start in 3 s" in waiting.reason
    assert plan(seen(head=head), UP + 5 + delay_s(4)).start == (HEAD, RESIDENT)


def test_long_life_forgives() -> None:
    assert died(running(HEAD, failures=6), UP + LONG_LIFE_S, "x").failures == 1
    assert died(running(HEAD, failures=6), UP + LONG_LIFE_S - 1, "x").failures == 7


def test_delays_grow_and_end() -> None:
    assert [delay_s(n) for n in range(6)] == [0, 0, 1, 2, 4, 8]
    assert delay_s(1000) == MAX_DELAY_S


def test_first_start_gives_up_on_the_head_at_once() -> None:
    head = died(running(HEAD), UP + 3, "exit code 1")
    decided = plan(seen(head=head, ever_ready=False), UP + 3)
    assert (decided.give_up, decided.state) == (HEAD, "failed")


def test_first_start_gives_the_resident_three_attempts() -> None:
    resident = died(running(RESIDENT), UP + 3, "exit code 1")
    assert plan(seen(resident=resident, ever_ready=False), UP + 3).start == (RESIDENT,)
    hopeless = replace(resident, failures=3)
    assert plan(seen(resident=hopeless, ever_ready=False), UP + 30).give_up == RESIDENT
    assert plan(seen(resident=hopeless, ever_ready=True), UP + 30).start == (RESIDENT,)


def test_head_that_never_completes() -> None:
    late = UP + 1000
    first = plan(seen(head_ready=False, ever_ready=False), late)
    assert first.give_up == HEAD
    later = plan(seen(head_ready=False), late)
    assert later.stop == (RESIDENT, HEAD)
    assert later.start == ()


def test_silent_resident_is_ended() -> None:
    assert plan(seen(), UP + HEARTBEAT_S + 1).stop == (RESIDENT,)
    assert plan(seen(heartbeat_at=UP + HEARTBEAT_S), UP + HEARTBEAT_S + 1).stop == ()
