"""Programs killed by SIGKILL: seen when the process has gone and another one does its work."""

import asyncio
import signal

from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import Rig, Unseen, chosen
from lab.stack.commands import answers
from ops.doctor.broker_client import all_consumed
from orders.workflow import steps_of


async def kill_api(rig: Rig, _planned: Planned) -> str:
    """The API, which is answering requests."""
    return await _kill_page(rig, "apps:api", f"{rig.stack.api_url}/readyz")


async def kill_relay(rig: Rig, _planned: Planned) -> str:
    """The relay, with pages in flight."""
    return await _kill_page(rig, "apps:relay", f"{rig.stack.addresses.urls['relay']}/readyz")


async def kill_sap(rig: Rig, _planned: Planned) -> str:
    """The SAP sandbox, which keeps what it has booked."""
    return await _kill_page(rig, "apps:sap", f"{rig.stack.sap_url}/healthz")


async def kill_smtp(rig: Rig, _planned: Planned) -> str:
    """The mail server, which keeps what it has accepted."""
    return await _kill_page(rig, "apps:smtp", f"{rig.stack.mail_url}/healthz")


async def kill_collector(rig: Rig, _planned: Planned) -> str:
    """The collector, perhaps with a batch in hand."""
    said = await _kill(rig, "apps:collector")
    await rig.until_answered(lambda: rig.reaches_broker("apps:collector"))
    return said


async def kill_worker_main(rig: Rig, planned: Planned) -> str:
    """A pool's main process; seen when each of its queues has a consumer again."""
    program = f"apps:worker-{planned.target}"
    said = await _kill(rig, program)
    queues = [step.queue for step in steps_of(planned.target)]
    # The broker may take the dead one's consumer for alive yet.
    await rig.until_answered(lambda: rig.reaches_broker(program))
    await rig.until_answered(lambda: asyncio.to_thread(all_consumed, rig.stack.amqp_url, queues))
    return said


async def kill_worker_child(rig: Rig, planned: Planned) -> str:
    """A child of a pool's worker; seen when the main process has made another."""
    program = f"apps:worker-{planned.target}"
    before = await rig.children(program)
    pid = chosen(sorted(before), planned.pick)
    main = await rig.pid(program)
    await rig.end(pid, signal.SIGKILL)
    while not (fresh := set(await rig.children(program)) - set(before)):
        if await rig.pid(program) != main:
            raise Unseen(f"the main process {main} ended with its child {pid}")
        await asyncio.sleep(0.1)
    return f"{pid} gone, {min(fresh)} in its place"


async def _kill_page(rig: Rig, program: str, page: str) -> str:
    said = await _kill(rig, program)
    await rig.until_answered(lambda: asyncio.to_thread(answers, page))
    return said


async def _kill(rig: Rig, program: str) -> str:
    """Kill a program; what was seen, once another process has its name."""
    before = await rig.pid(program)
    await rig.end(before, signal.SIGKILL)

    async def replaced() -> bool:
        return await rig.pid(program) != before

    await rig.until_answered(replaced)
    return f"{before} gone, {await rig.pid(program)} in its place"
