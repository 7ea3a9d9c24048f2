"""Hands e-mails to an SMTP server, with aiosmtplib.

A call sends its message at most once: a connection kept from the last e-mail is probed before it is used again and
replaced when dead, and after that nothing is tried twice. A connection lost once DATA was sent leaves it unknown
whether the server took the message; the caller's next try then goes out under the same Message-ID.

What an error says goes to logs, e-mails and alerts: it names a message by its Message-ID, and where a server's words
quote whom it is for, they are replaced. The library's own error, which quotes him as well, is not kept as the cause.
"""

import asyncio
import re
import time
from email.message import EmailMessage
from email.utils import parseaddr

import aiosmtplib
from aiosmtplib import SMTP

from orders.workflow import ErrorKind
from runtime.settings import Settings
from runtime.tracing import tracer
from runtime.tracing.spans import Attributes, Kind, SpanAround

# A server may hang up on an idle client after 5 minutes (RFC 5321, 4.5.3.2.7), and routers forget a silent connection
# without a word, sooner; a fresh connection costs a few round trips.
_KEEP_SECONDS = 30.0
_LONGEST_PROBE_SECONDS = 5.0


class MailError(Exception):
    """A message was not handed over; the text says which, why, and the server's own words, and not for whom."""


class MailUnavailable(MailError):  # noqa: N818 - says what the caller decides by
    """Worth another try: no connection, no session, a time-out, or a 4xx reply."""

    kind = ErrorKind.SERVER


class MailRefused(MailError):  # noqa: N818 - says what the caller decides by
    """Never to be tried again as it is: a 5xx reply, or an address that the server cannot take."""

    kind = ErrorKind.REFUSED


class Mailer:
    """Sends one message at a time over one connection, all within one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()
        self._connection: SMTP | None = None
        self._used_at = 0.0

    async def send(self, message: EmailMessage) -> None:
        """Return once the server has taken the message for its recipient.

        Raises MailUnavailable or MailRefused; MailUnavailable may hide that the server took the message and its answer
        was lost.
        """
        with self._span(message):
            async with self._one_at_a_time:
                connection = await self._ready_connection()
                try:
                    refused, _ = await connection.send_message(message)
                except BaseException as error:
                    # Also when cancelled: what the server still answers would be read as the next command's reply.
                    self._drop()
                    if isinstance(error, (aiosmtplib.SMTPException, OSError, ValueError)):
                        raise _as_mail_error(error, message) from None
                    raise
                self._used_at = time.monotonic()
            if refused:
                replies = "; ".join(f"{reply.code} {reply.message}" for reply in refused.values())
                raise MailRefused(_text(message, f"the server took it, but not for the recipient: {replies}"))

    async def answers(self) -> bool:
        """Whether the mail server gives us a session, log-in included: one that is opened and closed again."""
        try:
            connection = await self._connect(min(_LONGEST_PROBE_SECONDS, self._settings.smtp_timeout_seconds))
        except MailUnavailable:
            return False
        try:
            await connection.quit()
        except (aiosmtplib.SMTPException, OSError):
            connection.close()
        return True

    async def close(self) -> None:
        """Take leave of the server; the next `send` connects anew."""
        async with self._one_at_a_time:
            connection, self._connection = self._connection, None
            if connection is not None and connection.is_connected:
                try:
                    await connection.quit()
                except (aiosmtplib.SMTPException, OSError):
                    connection.close()

    def _span(self, message: EmailMessage) -> SpanAround:
        """A span around one hand-over, which names the message and not whom it is for."""
        known: Attributes = {
            "network.protocol.name": "smtp",
            "server.address": self._settings.smtp_host,
            "server.port": self._settings.smtp_port,
            "waybill.message_id": str(message["Message-ID"]),
        }
        return tracer.span("SMTP send", Kind.CLIENT, known)

    async def _ready_connection(self) -> SMTP:
        """The kept connection if it still answers, else a fresh one."""
        if self._connection is not None and not await self._still_answers(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = await self._connect(self._settings.smtp_timeout_seconds)
        return self._connection

    async def _still_answers(self, connection: SMTP) -> bool:
        if not connection.is_connected or time.monotonic() - self._used_at > _KEEP_SECONDS:
            return False
        try:
            await connection.rset()
        except (aiosmtplib.SMTPException, OSError):
            return False
        except BaseException:
            self._drop()
            raise
        return True

    async def _connect(self, timeout_seconds: float) -> SMTP:
        """A session ready for MAIL FROM.

        A 5xx before that point, such as a wrong password, says nothing about the message: MailUnavailable as well.
        """
        settings = self._settings
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        connection = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user,
            password=password,
            start_tls=settings.smtp_starttls,
            timeout=timeout_seconds,
            # The library would ask the resolver for this host's full name, which can take seconds.
            local_hostname=parseaddr(settings.mail_from)[1].rpartition("@")[2] or "localhost",
        )
        try:
            await connection.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            server = f"{settings.smtp_host}:{settings.smtp_port}"
            raise MailUnavailable(
                f"no session with the mail server {server} (SMTP_HOST, SMTP_PORT): {error}"
            ) from error
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _as_mail_error(error: Exception, message: EmailMessage) -> MailError:
    """What a failed hand-over means for the next try."""
    text = _text(message, str(error))
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        final = all(refusal.code >= 500 for refusal in error.recipients)
        replies = "; ".join(f"{refusal.code} {refusal.message}" for refusal in error.recipients)
        return (MailRefused if final else MailUnavailable)(_text(message, f"recipient refused: {replies}"))
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return (MailRefused if error.code >= 500 else MailUnavailable)(text)
    if isinstance(error, (aiosmtplib.SMTPNotSupported, ValueError)):
        return MailRefused(text)
    return MailUnavailable(text)


def _text(message: EmailMessage, told: str) -> str:
    """The text of an error: which message, and what was told of it without whom it is for."""
    for quoted in _whom(message):
        told = re.sub(rf"(?<!\w){re.escape(quoted)}(?!\w)", "the recipient", told, flags=re.IGNORECASE)
    return f"mail {message['Message-ID']}: {told}"


def _whom(message: EmailMessage) -> list[str]:
    """What may stand for a recipient in a server's words, the longest first: part of an address is in the address."""
    forms = {
        form
        for mailbox in message["To"].addresses
        for form in (mailbox.addr_spec, mailbox.username, mailbox.display_name)
        if form
    }
    return sorted(forms, key=len, reverse=True)
