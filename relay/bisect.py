"""Binary search for the event that closes the channel. Pure. Used by `relay.in_flight`.

RabbitMQ closes a channel because of a message without naming the message. Every event that was in flight is suspect.
Half of the suspects are published alone, the probe. If the channel survives, the probe is innocent; if it closes, the
event is in the probe. A single event under a closing channel is the one.
"""

from collections.abc import Sequence

from outbox.cursor.reader import Row


class Search:
    """The suspects, and the half of them that is probed. The search starts when a channel closed under all of them."""

    def __init__(self, suspects: Sequence[Row]) -> None:
        self._suspects = list(suspects)
        self.probe = self._half()

    def probe_survived(self) -> bool:
        """The channel survived the probe, so the other half is suspect now. False once no suspect is left."""
        self._suspects = self._suspects[len(self.probe) :]
        self.probe = self._half()
        return bool(self._suspects)

    def probe_failed(self, unconfirmed: Sequence[Row]) -> list[Row]:
        """The channel closed under these events of the probe, so they are suspect now. Returns the cleared half.

        An event that was confirmed before cannot be the one. Once a single suspect is left, `found` names it.
        """
        cleared = self._suspects[len(self.probe) :]
        self._suspects = list(unconfirmed)
        self.probe = self._half()
        return cleared

    @property
    def found(self) -> Row | None:
        """The event that closes the channel, once a failed probe has left it alone."""
        return self._suspects[0] if len(self._suspects) == 1 else None

    def _half(self) -> list[Row]:
        return self._suspects[: (len(self._suspects) + 1) // 2]
