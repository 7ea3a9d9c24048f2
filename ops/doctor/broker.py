"""What the doctor makes of the broker: its version, each queue's state, and whether somebody works on them."""

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
    """The broker's version, the queues that are not as they should be, and who seems to work on them."""
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
    """Whether the broker is new enough: at-least-once dead-lettering came with 3.10."""
    numbers = tuple(map(int, re.findall(r"\d+", product)[:2]))
    if numbers >= OLDEST_RABBITMQ:
        return Finding(Verdict.GOOD, "RabbitMQ", product)
    return Finding(Verdict.BAD, "RabbitMQ", f"{product}: no safe dead-lettering", "upgrade to 3.10 or newer")


def queue_findings(states: States, *, local: bool) -> Iterator[Finding]:
    """What each queue's state means; nothing at all about a queue that is as it should be."""
    for queue, state in states.items():
        if state is None:
            yield Finding(Verdict.BAD, f"queue {queue}", "does not exist", "run `waybill topology apply`")
        elif queue not in BY_QUEUE:
            if state.messages:
                yield Finding(
                    Verdict.WARNING,
                    f"queue {queue}",
                    f"{state.messages} messages",
                    f"kept there; {to_start('collector', local=local)}, which makes them dead letters for "
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
    """How many workers take from the queues of each pool; nothing where a queue has none, which is told of it."""
    for pool in POOLS:
        queues = [step.queue for step in steps_of(pool)]
        consumers = min(state.consumers if (state := states[queue]) else 0 for queue in queues)
        if consumers:
            yield Finding(Verdict.GOOD, f"worker {pool}", f"{consumers} on {', '.join(queues)}")


def unconsumed(pool: str, *, local: bool) -> str:
    """What to do about a step's queue that nobody takes from."""
    start = to_start(f"worker-{pool}", local=local)
    if not POOLS[pool].outside:
        return start
    return f"{start}; one that runs has stopped consuming while the system behind {pool} is away, and resumes by itself"


def collector(states: States, *, local: bool) -> Finding:
    """Whether a collector seems to run. It fetches and is no consumer that a queue would know, but leaves none full."""
    full = [queue for queue, state in states.items() if queue not in BY_QUEUE and state and state.messages]
    if not full:
        return Finding(Verdict.GOOD, "collector", "nothing waits for it")
    return Finding(
        Verdict.WARNING,
        "collector",
        f"{', '.join(full)} wait for one: none runs, or it cannot store dead letters",
        f"{to_start('collector', local=local)}; where one runs, its log says what is wrong",
    )
