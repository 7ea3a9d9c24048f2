"""Hands letters to an SMTP server, with aiosmtplib.

A call sends its message at most once: a connection kept from the last letter is probed before it is used again and
replaced when dead, and after that nothing is tried twice. A connection lost once DATA was sent leaves it unknown
whether the server took the message; the caller's next try then goes out under the same Message-ID.
"""

import asyncio
import time
from email.message import EmailMessage
from email.utils import parseaddr

import aiosmtplib
from aiosmtplib import SMTP

from orders.workflow import ErrorKind
from runtime.settings import Settings

# A server may hang up on an idle client after 5 minutes (RFC 5321, 4.5.3.2.7), and routers forget a silent connection
# without a word, sooner; a fresh connection costs a few round trips.
_KEEP_SECONDS = 30.0
_LONGEST_PROBE_SECONDS = 5.0


class MailError(Exception):
    """A message was not handed over; the text says to whom, why, and the server's own words."""


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
        async with self._one_at_a_time:
            connection = await self._ready_connection()
            try:
                refused, _ = await connection.send_message(message)
            except BaseException as error:
                # Also when cancelled: what the server still answers would be read as the next command's reply.
                self._drop()
                if isinstance(error, (aiosmtplib.SMTPException, OSError, ValueError)):
                    raise _as_mail_error(error, message) from error
                raise
            self._used_at = time.monotonic()
        if refused:
            raise MailRefused(f"mail {_name(message)}: the server took it, but not for {sorted(refused)}")

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
    text = f"mail {_name(message)}: {error}"
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        final = all(refusal.code >= 500 for refusal in error.recipients)
        replies = "; ".join(f"{refusal.code} {refusal.message}" for refusal in error.recipients)
        return (MailRefused if final else MailUnavailable)(f"mail {_name(message)}: recipient refused: {replies}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return (MailRefused if error.code >= 500 else MailUnavailable)(text)
    if isinstance(error, (aiosmtplib.SMTPNotSupported, ValueError)):
        return MailRefused(text)
    return MailUnavailable(text)


def _name(message: EmailMessage) -> str:
    return f"{message['Message-ID']} to {message['To']}"
