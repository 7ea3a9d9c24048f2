"""The circuit opens at the first report of an outage, probes, and closes."""

import pytest
from prometheus_client import REGISTRY

from consumers.delivery.result import DeliveryResult
from consumers.worker import circuit as circuits
from consumers.worker.circuit import Circuit
from tests.support.builders.child_reports import child_report

AWAY = [child_report(DeliveryResult.AWAY)]


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


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _is_open() -> float:
    return _value("waybill_circuit_open", queue="sap")


def test_it_opens_once_probes_now_and_then_and_closes_when_the_other_side_is_back(clock: Clock) -> None:
    consumer, back, probes = Consumer(), False, 0

    def probe() -> bool:
        nonlocal probes
        probes += 1
        return back

    circuit = Circuit({"sap": probe})
    circuit.update(consumer, [])
    assert (consumer.asked, _is_open()) == ([], 0)

    circuit.update(consumer, AWAY * 3)  # each child that ran a delivery reports it
    circuit.update(consumer, [])
    assert (consumer.asked, _is_open(), probes) == (["pause sap"], 1, 0)

    clock.now += circuits.PROBE_SECONDS
    circuit.update(consumer, [])
    circuit.update(consumer, [])
    assert (consumer.asked, probes) == (["pause sap"], 1)

    back = True
    clock.now += circuits.PROBE_SECONDS
    circuit.update(consumer, [])
    assert (consumer.asked, _is_open(), probes) == (["pause sap", "resume sap"], 0, 2)

    circuit.update(consumer, AWAY)  # and goes away again
    assert consumer.asked[2:] == ["pause sap"]


class Disconnected(Consumer):
    """A consumer whose broker has just gone."""

    def pause(self, queue: str) -> None:
        raise ConnectionResetError(queue)

    resume = pause


def test_a_broker_that_goes_away_in_this_very_moment_is_no_reason_to_stop_probing(clock: Clock) -> None:
    """Celery takes the queue off its list before it tells the broker: nothing but a probe would bring it back."""
    consumer, circuit = Consumer(), Circuit({"sap": lambda: True})
    with pytest.raises(ConnectionResetError):
        circuit.update(Disconnected(), AWAY)
    assert _is_open() == 1
    clock.now += circuits.PROBE_SECONDS
    with pytest.raises(ConnectionResetError):
        circuit.update(Disconnected(), [])
    assert _is_open() == 1
    clock.now += circuits.PROBE_SECONDS
    circuit.update(consumer, [])
    assert (consumer.asked, _is_open()) == (["resume sap"], 0)


def test_a_probe_that_breaks_is_made_again_after_the_usual_pause(clock: Clock) -> None:
    probes = 0

    def probe() -> bool:
        nonlocal probes
        probes += 1
        raise RuntimeError("broken")

    circuit = Circuit({"sap": probe})
    circuit.update(Consumer(), AWAY)
    clock.now += circuits.PROBE_SECONDS
    with pytest.raises(RuntimeError):
        circuit.update(Consumer(), [])
    circuit.update(Consumer(), [])
    assert probes == 1
