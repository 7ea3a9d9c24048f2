"""Programs killed by SIGKILL: seen when the process has gone and another one does its work."""

import asyncio
import signal

from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import NotObserved, SystemUnderTest, chosen
from lab.stack.commands import answers
from ops.doctor.broker_client import all_consumed
from orders.workflow import steps_of


async def kill_api(system: SystemUnderTest, _planned: Planned) -> str:
    """The API, which is answering requests."""
    return await _kill_page(system, "apps:api", f"{system.stack.api_url}/readyz")


async def kill_relay(system: SystemUnderTest, _planned: Planned) -> str:
    """The relay, with pages in flight."""
    return await _kill_page(system, "apps:relay", f"{system.stack.addresses.urls['relay']}/readyz")


async def kill_sap(system: SystemUnderTest, _planned: Planned) -> str:
    """The SAP sandbox, which keeps what it has booked."""
    return await _kill_page(system, "apps:sap", f"{system.stack.sap_url}/healthz")


async def kill_smtp(system: SystemUnderTest, _planned: Planned) -> str:
    """The mail server, which keeps what it has accepted."""
    return await _kill_page(system, "apps:smtp", f"{system.stack.mail_url}/healthz")


async def kill_collector(system: SystemUnderTest, _planned: Planned) -> str:
    """The collector, perhaps with a batch in hand."""
    said = await _kill(system, "apps:collector")
    await system.until_answered(lambda: system.reaches_broker("apps:collector"))
    return said


async def kill_worker_main(system: SystemUnderTest, planned: Planned) -> str:
    """A pool's main process; seen when each of its queues has a consumer again."""
    program = f"apps:worker-{planned.target}"
    said = await _kill(system, program)
    queues = [step.queue for step in steps_of(planned.target)]
    # The broker may take the dead one's consumer for alive yet.
    await system.until_answered(lambda: system.reaches_broker(program))
    await system.until_answered(lambda: asyncio.to_thread(all_consumed, system.stack.amqp_url, queues))
    return said


async def kill_worker_child(system: SystemUnderTest, planned: Planned) -> str:
    """A child of a pool's worker; seen when the main process has made another."""
    program = f"apps:worker-{planned.target}"
    before = await system.children(program)
    pid = chosen(sorted(before), planned.pick)
    main = await system.pid(program)
    await system.end(pid, signal.SIGKILL)
    while not (fresh := set(await system.children(program)) - set(before)):
        if await system.pid(program) != main:
            raise NotObserved(f"the main process {main} ended with its child {pid}")
        await asyncio.sleep(0.1)
    return f"{pid} gone, {min(fresh)} in its place"


async def _kill_page(system: SystemUnderTest, program: str, page: str) -> str:
    said = await _kill(system, program)
    await system.until_answered(lambda: asyncio.to_thread(answers, page))
    return said


async def _kill(system: SystemUnderTest, program: str) -> str:
    """Kill a program; what was seen, once another process has its name."""
    before = await system.pid(program)
    await system.end(before, signal.SIGKILL)

    async def replaced() -> bool:
        return await system.pid(program) != before

    await system.until_answered(replaced)
    return f"{before} gone, {await system.pid(program)} in its place"
