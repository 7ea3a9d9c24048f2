"""SMTP client of the e-mail step, on aiosmtplib. Called by `consumers.steps.email`.

A call sends its message at most once. A connection kept from the last e-mail is probed before it is used again, and is
replaced when it is dead; after that the call repeats nothing. When a connection is lost after DATA was sent, it is
unknown whether the server took the message. The caller's next attempt then sends it under the same Message-ID.

The text of an error goes to logs, pages and alerts. It names a message by its Message-ID. Where the server's reply
quotes the recipient, the quotation is replaced. The library's own error quotes the recipient as well, so it is not kept
as the cause.
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

# A server may close an idle connection after 5 minutes (RFC 5321, 4.5.3.2.7). Routers drop a silent connection sooner,
# without a packet to either side. A fresh connection costs a few round trips.
_KEEP_SECONDS = 30.0
_LONGEST_PROBE_SECONDS = 5.0


class MailError(Exception):
    """A message was not sent. The text has its Message-ID, the reason and the server's reply, but not the recipient."""


class MailUnavailable(MailError):  # noqa: N818 - named by what the caller decides
    """Worth another attempt: no connection, no session, a time-out, or a 4xx reply."""

    kind = ErrorKind.SERVER


class MailRefused(MailError):  # noqa: N818 - named by what the caller decides
    """Not worth another attempt as it is: a 5xx reply, or an address that the server cannot take."""

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

        Raises MailUnavailable or MailRefused. After MailUnavailable the server may have taken the message all the same:
        its answer may be lost.
        """
        with self._span(message):
            async with self._one_at_a_time:
                connection = await self._ready_connection()
                try:
                    refused, _ = await connection.send_message(message)
                except BaseException as error:
                    # Also when cancelled: an answer that is still to come would be read as the next command's reply.
                    self._drop()
                    if isinstance(error, (aiosmtplib.SMTPException, OSError, ValueError)):
                        raise _as_mail_error(error, message) from None
                    raise
                self._used_at = time.monotonic()
            if refused:
                replies = "; ".join(f"{reply.code} {reply.message}" for reply in refused.values())
                raise MailRefused(_text(message, f"the server took it, but not for the recipient: {replies}"))

    async def is_away(self) -> bool:
        """Whether the mail server opens no session for us, log-in included. A session that it opens is closed again."""
        try:
            connection = await self._connect(min(_LONGEST_PROBE_SECONDS, self._settings.smtp_timeout_seconds))
        except MailUnavailable:
            return True
        try:
            await connection.quit()
        except (aiosmtplib.SMTPException, OSError):
            connection.close()
        return False

    async def close(self) -> None:
        """Close the connection with QUIT. The next `send` connects again."""
        async with self._one_at_a_time:
            connection, self._connection = self._connection, None
            if connection is not None and connection.is_connected:
                try:
                    await connection.quit()
                except (aiosmtplib.SMTPException, OSError):
                    connection.close()

    def _span(self, message: EmailMessage) -> SpanAround:
        """A span around one `send`. It has the Message-ID and not the recipient."""
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

        A 5xx before that point, such as a wrong password, is no refusal of the message: it raises MailUnavailable as
        well.
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
            # By default the library asks the resolver for this host's full name, which can take seconds.
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
    """The error that a failed `send` raises, by whether another attempt may succeed."""
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


def _text(message: EmailMessage, reason: str) -> str:
    """The text of an error: the Message-ID, and the reason without the recipient."""
    for form in _recipient_forms(message):
        reason = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "the recipient", reason, flags=re.IGNORECASE)
    return f"mail {message['Message-ID']}: {reason}"


def _recipient_forms(message: EmailMessage) -> list[str]:
    """The forms in which a reply may quote a recipient, the longest first, because an address contains the shorter."""
    forms = {
        form
        for mailbox in message["To"].addresses
        for form in (mailbox.addr_spec, mailbox.username, mailbox.display_name)
        if form
    }
    return sorted(forms, key=len, reverse=True)
