"""CSRF tokens bound to a session cookie, as SAP Gateway issues them.

A token is valid for a time and, if configured, for a number of uses; so a client must be able to fetch another one at
any moment.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

SESSION_COOKIE = "SAP_SESSIONID_S4H_100"


@dataclass(slots=True)
class Session:
    """One client's session: its cookie, its token, and how long the token is valid."""

    cookie: str
    token: str
    expires_at: float
    uses_left: int | None


class CsrfTokens:
    """The sessions of one service; `uses` 0 means no limit."""

    def __init__(
        self, *, lifetime_seconds: float = 1800.0, uses: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lifetime = lifetime_seconds
        self._uses = uses
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def issue(self, cookie: str | None) -> Session:
        """The live session of `cookie`, or a new one."""
        known = self._live(cookie)
        if known is not None:
            return known
        now = self._clock()
        self._sessions = {key: held for key, held in self._sessions.items() if held.expires_at > now}
        session = Session(
            secrets.token_urlsafe(24), secrets.token_urlsafe(18), now + self._lifetime, self._uses or None
        )
        self._sessions[session.cookie] = session
        return session

    def spend(self, cookie: str | None, token: str | None) -> bool:
        """Whether this token is valid in this session; if so, counts as one use."""
        session = self._live(cookie)
        if session is None or token is None or not secrets.compare_digest(session.token, token):
            return False
        if session.uses_left is not None:
            session.uses_left -= 1
        return True

    def _live(self, cookie: str | None) -> Session | None:
        session = self._sessions.get(cookie or "")
        if session is None or session.expires_at <= self._clock() or session.uses_left == 0:
            return None
        return session
