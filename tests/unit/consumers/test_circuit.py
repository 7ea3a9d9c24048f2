"""The circuit opens at the first word that nobody is there, probes, and closes; and counts what it was told."""

import os
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from consumers import circuit as circuits
from consumers.circuit import Circuit
from consumers.outcome import Outcome
from consumers.reports import Reports
from orders.workflow import BY_NAME

SAP = BY_NAME["sync_order_to_sap"]


class Consumer:
    """What is asked of Celery's consumer, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self, queue: str) -> None:
        self.asked.append(f"pause {queue}")

    def resume(self, queue: str) -> None:
        self.asked.append(f"resume {queue}")


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuits, "time", clock)
    return clock


@pytest.fixture
def reports() -> Iterator[Reports]:
    opened = Reports()
    yield opened
    opened.close()


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _is_open() -> float:
    return _value("waybill_circuit_open", queue="sap")


def test_it_opens_once_probes_now_and_then_and_closes_when_the_other_side_is_back(
    reports: Reports, clock: Clock
) -> None:
    consumer, back, probes = Consumer(), False, 0

    def probe() -> bool:
        nonlocal probes
        probes += 1
        return back

    circuit = Circuit(reports, {"sap": probe})
    circuit.look(consumer)
    assert (consumer.asked, _is_open()) == ([], 0)

    for _ in range(3):  # each child that was at work says so
        reports.tell(SAP, Outcome.AWAY)
    circuit.look(consumer)
    circuit.look(consumer)
    assert (consumer.asked, _is_open(), probes) == (["pause sap"], 1, 0)

    clock.now += circuits.PROBE_SECONDS
    circuit.look(consumer)
    circuit.look(consumer)
    assert (consumer.asked, probes) == (["pause sap"], 1)

    back = True
    clock.now += circuits.PROBE_SECONDS
    circuit.look(consumer)
    assert (consumer.asked, _is_open(), probes) == (["pause sap", "resume sap"], 0, 2)

    reports.tell(SAP, Outcome.AWAY)  # and goes away again
    circuit.look(consumer)
    assert consumer.asked[2:] == ["pause sap"]


class Disconnected(Consumer):
    """A consumer whose broker has just gone."""

    def pause(self, queue: str) -> None:
        raise ConnectionResetError(queue)

    resume = pause


def test_a_broker_that_goes_away_in_this_very_moment_is_no_reason_to_stop_probing(
    reports: Reports, clock: Clock
) -> None:
    """Celery takes the queue off its list before it tells the broker: nothing but a probe would bring it back."""
    consumer, circuit = Consumer(), Circuit(reports, {"sap": lambda: True})
    reports.tell(SAP, Outcome.AWAY)
    with pytest.raises(ConnectionResetError):
        circuit.look(Disconnected())
    assert _is_open() == 1
    clock.now += circuits.PROBE_SECONDS
    with pytest.raises(ConnectionResetError):
        circuit.look(Disconnected())
    assert _is_open() == 1
    clock.now += circuits.PROBE_SECONDS
    circuit.look(consumer)
    assert (consumer.asked, _is_open()) == (["resume sap"], 0)


def test_a_probe_that_breaks_is_made_again_after_the_usual_pause(reports: Reports, clock: Clock) -> None:
    probes = 0

    def probe() -> bool:
        nonlocal probes
        probes += 1
        raise RuntimeError("broken")

    circuit = Circuit(reports, {"sap": probe})
    reports.tell(SAP, Outcome.AWAY)
    circuit.look(Consumer())
    clock.now += circuits.PROBE_SECONDS
    with pytest.raises(RuntimeError):
        circuit.look(Consumer())
    circuit.look(Consumer())
    assert probes == 1


def test_every_word_of_the_children_is_counted(reports: Reports) -> None:
    before = {outcome: _count(outcome) for outcome in Outcome}
    told = [Outcome.DONE, Outcome.DONE, Outcome.DUPLICATE, Outcome.DEAD]
    for outcome in told:
        reports.tell(SAP, outcome)
    Circuit(reports, {}).look(Consumer())
    assert {outcome: _count(outcome) - before[outcome] for outcome in Outcome} == {
        outcome: told.count(outcome) for outcome in Outcome
    }


def _count(outcome: Outcome) -> float:
    return _value("waybill_deliveries_total", step=SAP.name, outcome=outcome.value)


def test_words_of_several_processes_arrive_whole(reports: Reports) -> None:
    children, words = 4, 500
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            for _ in range(words):
                reports.tell(SAP, Outcome.DONE)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * children
    assert list(reports.told()) == [(SAP, Outcome.DONE)] * (children * words)


def test_a_full_pipe_holds_nobody_up(reports: Reports) -> None:
    for _ in range(100_000):
        reports.tell(SAP, Outcome.DONE)
    assert 0 < len(list(reports.told())) <= 100_000
