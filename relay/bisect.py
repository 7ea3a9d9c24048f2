"""Which event closes the channel: found by halving, since the broker's complaint names no message. Pure.

Everything that was in flight is suspect. Half of it is published alone, the `trial`: if the channel lives, that half
is innocent; if it closes, the event is in it. One event alone under a closing channel is the one.
"""

from collections.abc import Sequence

from outbox.cursor.reader import Row


class Search:
    """The suspects, and the half of them that is on trial; begun when a channel closed under all of them."""

    def __init__(self, suspects: Sequence[Row]) -> None:
        self._suspects = list(suspects)
        self.trial = self._half()

    def passed(self) -> bool:
        """The channel lived through the trial: the rest is suspect now. False once nobody is."""
        self._suspects = self._suspects[len(self.trial) :]
        self.trial = self._half()
        return bool(self._suspects)

    def failed(self, unconfirmed: Sequence[Row]) -> list[Row]:
        """The channel closed under these of the trial: they are suspect now; those that are cleared for now.

        What was confirmed before cannot be the one, and once a single event is left it is: `found` names it.
        """
        cleared = self._suspects[len(self.trial) :]
        self._suspects = list(unconfirmed)
        self.trial = self._half()
        return cleared

    @property
    def found(self) -> Row | None:
        """The event that closes the channel, once the search has come down to it by a failure."""
        return self._suspects[0] if len(self._suspects) == 1 else None

    def _half(self) -> list[Row]:
        return self._suspects[: (len(self._suspects) + 1) // 2]
