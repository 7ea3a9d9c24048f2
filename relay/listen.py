"""The writers' hints reach the leader: each one ends its wait for the next poll.

A hint says that something was committed, not what. One that gets lost costs a pause between two polls.
"""

from collections.abc import Callable

from asyncpg import Connection, Record

from outbox.notify import CHANNEL


async def listen(connection: "Connection[Record]", wake: Callable[[], None]) -> None:
    """Have `wake` called for each hint for as long as the connection lives.

    A connection of quick statements suits best: hints are not delivered during one. Raises what the driver raises.
    """

    def hinted(*_: object) -> None:
        wake()

    await connection.add_listener(CHANNEL, hinted)
