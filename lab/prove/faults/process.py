"""Faults of programs, killed by SIGKILL: observed when the process has ended and another one does its work."""

import asyncio
import signal

from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import NotObserved, SystemUnderTest, pick_one
from lab.stack.commands import answers
from ops.doctor.broker_client import all_consumed
from orders.workflow import steps_of


async def kill_api(system: SystemUnderTest, _planned: Planned) -> str:
    """Kill the API while it answers requests."""
    return await _kill_page(system, "apps:api", f"{system.stack.api_url}/readyz")


async def kill_relay(system: SystemUnderTest, _planned: Planned) -> str:
    """Kill the relay with pages in flight."""
    return await _kill_page(system, "apps:relay", f"{system.stack.addresses.urls['relay']}/readyz")


async def kill_sap(system: SystemUnderTest, _planned: Planned) -> str:
    """Kill the SAP sandbox; it keeps the documents that it has booked."""
    return await _kill_page(system, "apps:sap", f"{system.stack.sap_url}/healthz")


async def kill_smtp(system: SystemUnderTest, _planned: Planned) -> str:
    """Kill the mail server; it keeps the messages that it has accepted."""
    return await _kill_page(system, "apps:smtp", f"{system.stack.mail_url}/healthz")


async def kill_collector(system: SystemUnderTest, _planned: Planned) -> str:
    """Kill the collector, perhaps in the middle of a batch."""
    note = await _kill(system, "apps:collector")
    await system.until_answered(lambda: system.reaches_broker("apps:collector"))
    return note


async def kill_worker_main(system: SystemUnderTest, planned: Planned) -> str:
    """Kill a pool's main process; observed when each of its queues has a consumer again."""
    program = f"apps:worker-{planned.target}"
    note = await _kill(system, program)
    queues = [step.queue for step in steps_of(planned.target)]
    # First its connection: the broker may still list the dead process's consumer.
    await system.until_answered(lambda: system.reaches_broker(program))
    await system.until_answered(lambda: asyncio.to_thread(all_consumed, system.stack.amqp_url, queues))
    return note


async def kill_worker_child(system: SystemUnderTest, planned: Planned) -> str:
    """Kill a child of a pool's worker; observed when the main process has forked another."""
    program = f"apps:worker-{planned.target}"
    before = await system.children(program)
    pid = pick_one(sorted(before), planned.pick)
    main = await system.pid(program)
    await system.end(pid, signal.SIGKILL)
    while not (fresh := set(await system.children(program)) - set(before)):
        if await system.pid(program) != main:
            raise NotObserved(f"the main process {main} ended with its child {pid}")
        await asyncio.sleep(0.1)
    return f"{pid} ended, {min(fresh)} in its place"


async def _kill_page(system: SystemUnderTest, program: str, page: str) -> str:
    note = await _kill(system, program)
    await system.until_answered(lambda: asyncio.to_thread(answers, page))
    return note


async def _kill(system: SystemUnderTest, program: str) -> str:
    """Kill a program and wait until another process runs under its name; returns the note on it."""
    before = await system.pid(program)
    await system.end(before, signal.SIGKILL)

    async def replaced() -> bool:
        return await system.pid(program) != before

    await system.until_answered(replaced)
    return f"{before} ended, {await system.pid(program)} in its place"
