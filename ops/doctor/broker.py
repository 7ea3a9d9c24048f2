"""Checks of RabbitMQ: its version, the state of each queue, and the workers of each pool. Called by `checks`."""

import asyncio
import re
from collections.abc import Iterator, Mapping

from ops.doctor import broker_client
from ops.doctor.finding import Finding, Verdict, to_start
from ops.errors import ServerError
from orders.workflow import BY_QUEUE, POOLS, STEPS, required_queues, steps_of

OLDEST_RABBITMQ = (3, 10)
BACKLOG = 10_000

States = Mapping[str, broker_client.QueueState | None]


async def rabbitmq(amqp_url: str, *, local: bool) -> list[Finding]:
    """Findings on the broker's version, on queues in trouble, and on the workers and the collector."""
    return await asyncio.to_thread(_ask, amqp_url, local=local)


def _ask(amqp_url: str, *, local: bool) -> list[Finding]:
    dead = {step.dead_letter_queue for step in STEPS}
    try:
        with broker_client.connection(amqp_url) as link:
            product = broker_client.version(link)
            states = broker_client.queue_states(link, [*required_queues(), *sorted(dead)])
    except ServerError as error:
        return [Finding(Verdict.BAD, "RabbitMQ", str(error), "start it, or correct AMQP_URL")]
    return [
        rabbitmq_version(product),
        *queue_findings(states, local=local),
        *workers(states),
        collector(states, local=local),
    ]


def rabbitmq_version(product: str) -> Finding:
    """Check the broker's version: at-least-once dead-lettering came with 3.10."""
    numbers = tuple(map(int, re.findall(r"\d+", product)[:2]))
    if numbers >= OLDEST_RABBITMQ:
        return Finding(Verdict.GOOD, "RabbitMQ", product)
    return Finding(Verdict.BAD, "RabbitMQ", f"{product}: no safe dead-lettering", "upgrade to 3.10 or newer")


def queue_findings(states: States, *, local: bool) -> Iterator[Finding]:
    """A finding for each queue in trouble; none for a healthy queue."""
    for queue, state in states.items():
        if state is None:
            yield Finding(Verdict.BAD, f"queue {queue}", "does not exist", "run `waybill topology apply`")
        elif queue not in BY_QUEUE:
            if state.messages:
                yield Finding(
                    Verdict.WARNING,
                    f"queue {queue}",
                    f"{state.messages} messages",
                    f"no message is lost; {to_start('collector', local=local)}, which stores them as dead letters for "
                    "`waybill dead-letters`",
                )
        elif not state.consumers:
            yield Finding(
                Verdict.BAD if state.messages else Verdict.WARNING,
                f"queue {queue}",
                f"{state.messages} messages and no consumer",
                unconsumed(BY_QUEUE[queue].pool, local=local),
            )
        elif state.messages > BACKLOG:
            yield Finding(
                Verdict.WARNING, f"queue {queue}", f"{state.messages} messages wait", "add workers of that pool"
            )


def workers(states: States) -> Iterator[Finding]:
    """The number of workers of each pool; none if a queue has no consumer, which `queue_findings` reports."""
    for pool in POOLS:
        queues = [step.queue for step in steps_of(pool)]
        consumers = min(state.consumers if (state := states[queue]) else 0 for queue in queues)
        if consumers:
            yield Finding(Verdict.GOOD, f"worker {pool}", f"{consumers} on {', '.join(queues)}")


def unconsumed(pool: str, *, local: bool) -> str:
    """The remedy for a step's queue without a consumer."""
    start = to_start(f"worker-{pool}", local=local)
    if not POOLS[pool].outside:
        return start
    return f"{start}; one that runs has stopped consuming while the system behind {pool} is away, and resumes by itself"


def collector(states: States, *, local: bool) -> Finding:
    """Check for a collector by its work: it fetches and is no consumer of a queue, but leaves no message waiting."""
    full = [queue for queue, state in states.items() if queue not in BY_QUEUE and state and state.messages]
    if not full:
        return Finding(Verdict.GOOD, "collector", "no message waits for it")
    return Finding(
        Verdict.WARNING,
        "collector",
        f"messages wait in {', '.join(full)}: no collector runs, or it cannot store dead letters",
        f"{to_start('collector', local=local)}; if one runs, its log gives the cause",
    )
