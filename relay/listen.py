"""LISTEN for the writers' hints (`outbox.notify`), on a connection of the leader. Called by `relay.session`.

Each hint ends the pipeline's pause before the next poll. A hint says that events were committed, not which. A lost hint
costs one pause between two polls.
"""

from collections.abc import Callable

from asyncpg import Connection, Record

from outbox.notify import CHANNEL


async def listen(connection: "Connection[Record]", wake: Callable[[], None]) -> None:
    """Call `wake` for each hint until the connection closes. Raises the driver's errors.

    Use a connection with quick statements: hints are not delivered during a statement.
    """

    def hinted(*_: object) -> None:
        wake()

    await connection.add_listener(CHANNEL, hinted)
