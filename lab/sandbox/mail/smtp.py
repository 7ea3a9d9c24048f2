"""The SMTP side of the inbox: accepts every recipient but those that a refusal rule matches.

A rule answers 451 (refused for now) or 550 (refused for good), so a test can make one address unreachable.
"""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import BaseModel, ConfigDict, Field

from lab.sandbox.mail.inbox import Inbox

_TEXTS = {451: "4.2.0 Mailbox is out of order for now, try again later", 550: "5.1.1 No such mailbox"}


class Refusal(BaseModel):
    """Recipients that match `pattern` (shell style, case ignored) are answered `code`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Annotated[str, Field(min_length=1)]
    code: Literal[451, 550]


class Postmaster:
    """aiosmtpd's handler: refuses a recipient, or keeps the message."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.refusals: Sequence[Refusal] = ()
        self.refused: Counter[int] = Counter()

    def protocol(self) -> SMTP:
        """The protocol of one connection."""
        return SMTP(self, enable_SMTPUTF8=True, hostname="localhost", ident="waybill inbox")

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer one recipient."""
        for refusal in self.refusals:
            if fnmatchcase(address.lower(), refusal.pattern.lower()):
                self.refused[refusal.code] += 1
                return f"{refusal.code} {_TEXTS[refusal.code]}"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep one message; 250 only once it is on disk."""
        content = envelope.content
        assert isinstance(content, bytes)
        try:
            message = await self.inbox.keep(content)
        except OSError as error:
            return f"451 4.3.0 Cannot keep the message: {error.strerror}"
        return f"250 2.0.0 Kept as {message.file}"
