"""The mailer and an SMTP server over real sockets: which e-mails are sent once, tried again, or refused for good."""
# ruff: noqa: N802, ARG002 - the server calls its handlers by these names with these arguments

import asyncio
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP as Server  # noqa: N811 - an acronym, not a constant
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from consumers.adapters.email_texts import confirmation
from consumers.adapters.mailer import Mailer, MailError, MailRefused, MailUnavailable
from consumers.delivery.error_kinds import failure_of
from runtime.log_context import LogContext, bind
from runtime.settings import Settings
from tests.support.builders.orders import sample_order

Reply = Callable[[Server], Awaitable[str]]


@dataclass
class Inbox:
    """Keeps each e-mail that it receives; `replies` has other answers for a stage, once per entry."""

    port: int = 0
    emails: list[Envelope] = field(default_factory=list)
    sessions: list[Server] = field(default_factory=list)
    passwords: list[bytes] = field(default_factory=list)
    replies: dict[str, list[Reply]] = field(default_factory=dict)

    async def _reply(self, stage: str, server: Server) -> str | None:
        waiting = self.replies.get(stage, [])
        return await waiting.pop(0)(server) if waiting else None

    async def handle_MAIL(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if server not in self.sessions:
            self.sessions.append(server)
        if reply := await self._reply("MAIL", server):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await self._reply("RCPT", server):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        self.emails.append(envelope)
        return await self._reply("DATA", server) or "250 taken"

    async def handle_RSET(self, server: Server, session: Session, envelope: Envelope) -> str:
        return await self._reply("RSET", server) or "250 OK"

    def check_password(self, server: Server, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password)
        return AuthResult(success=data.password == b"right", handled=False)


def says(reply: str) -> Reply:
    async def answer(server: Server) -> str:
        return reply

    return answer


def abort(server: Server) -> None:
    if isinstance(server.transport, asyncio.WriteTransport) and not server.transport.is_closing():
        server.transport.abort()


async def hangs_up(server: Server) -> str:
    abort(server)
    return "250 nobody hears this"


async def never_answers(server: Server) -> str:
    await asyncio.Event().wait()
    return ""


@asynccontextmanager
async def serving(inbox: Inbox, *, utf8: bool = True, **options: Any) -> AsyncIterator[Inbox]:
    connections: list[Server] = []

    def connected() -> Server:
        connections.append(Server(inbox, hostname="inbox.example", enable_SMTPUTF8=utf8, **options))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    inbox.port = server.sockets[0].getsockname()[1]
    try:
        yield inbox
    finally:
        server.close()
        for connection in connections:
            abort(connection)
        await server.wait_closed()
        await asyncio.sleep(0)


@asynccontextmanager
async def mailer_to(inbox: Inbox, **changes: Any) -> AsyncIterator[Mailer]:
    mailer = Mailer(settings(smtp_port=inbox.port, **changes))
    try:
        yield mailer
    finally:
        await mailer.close()


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": "postgresql://nobody@127.0.0.1/none",
        "amqp_url": "amqp://nobody@127.0.0.1/",
        "smtp_host": "127.0.0.1",
        "smtp_timeout_seconds": 5.0,
    }
    return Settings(**(values | changes))


def email(address: str = "frederique@blondel.example") -> EmailMessage:
    order = sample_order()
    order = replace(order, customer=replace(order.customer, email=address))
    return confirmation(order, event_id=uuid.uuid4(), settings=settings())


async def test_an_email_arrives_whole_for_its_one_recipient() -> None:
    async with serving(Inbox()) as inbox, mailer_to(inbox) as mailer:
        message = email()
        await mailer.send(message)
        (taken,) = inbox.emails
        assert taken.mail_from == "orders@waybill.example"
        assert taken.rcpt_tos == ["frederique@blondel.example"]
        assert isinstance(taken.content, bytes)
        assert f"Message-ID: {message['Message-ID']}".encode() in taken.content
        assert b"1234.50 USD" in taken.content


async def test_emails_share_one_connection() -> None:
    async with serving(Inbox()) as inbox, mailer_to(inbox) as mailer:
        await asyncio.gather(*(mailer.send(email()) for _ in range(5)))
        assert len(inbox.emails) == 5
        assert len(inbox.sessions) == 1


async def test_a_connection_that_the_server_dropped_between_emails_is_replaced() -> None:
    async with serving(Inbox()) as inbox, mailer_to(inbox) as mailer:
        await mailer.send(email())
        await hangs_up(inbox.sessions[0])
        await mailer.send(email())
        assert len(inbox.emails) == 2
        assert len(inbox.sessions) == 2


@pytest.mark.parametrize("reply", [says("421 idle for too long"), hangs_up])
async def test_a_connection_found_dead_before_an_email_is_replaced_within_the_call(reply: Reply) -> None:
    async with serving(Inbox(replies={"RSET": [reply]})) as inbox, mailer_to(inbox) as mailer:
        await mailer.send(email())
        await mailer.send(email())
        assert len(inbox.emails) == 2
        assert len(inbox.sessions) == 2


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "error"), [("451 come back later", MailUnavailable), ("550 no such mailbox", MailRefused)]
)
async def test_a_4xx_is_worth_another_attempt_and_a_5xx_is_not(stage: str, reply: str, error: type[MailError]) -> None:
    async with serving(Inbox(replies={stage: [says(reply)]})) as inbox, mailer_to(inbox) as mailer:
        with pytest.raises(error, match=reply[4:]):
            await mailer.send(email())
        await mailer.send(email())
        assert len(inbox.emails) == (2 if stage == "DATA" else 1)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("code", [451, 550])
async def test_no_text_of_a_failed_mail_says_whom_it_was_for(stage: str, code: int) -> None:
    message = email()
    name = message["To"].addresses[0].display_name
    assert name
    reply = says(f"{code} <Frederique@Blondel.Example>: no mailbox of {name} here (frederique)")
    async with serving(Inbox(replies={stage: [reply]})) as inbox, mailer_to(inbox) as mailer:
        with pytest.raises(MailError) as failed:
            await mailer.send(message)
    with bind(LogContext("send_confirmation_email", event_id=message["Message-ID"][1:].partition("@")[0])):
        failure = failure_of(failed.value)
    assert f"{message['Message-ID']}: " in failure.message
    assert "<the recipient>: no mailbox of the recipient here (the recipient)" in failure.message
    for text in (failure.message, failure.trace):
        assert "frederique" not in text.lower()
        assert "blondel" not in text.lower()
        assert name not in text


@pytest.mark.parametrize("reply", [hangs_up, never_answers])
async def test_an_email_whose_answer_is_lost_is_not_sent_again_within_the_call(reply: Reply) -> None:
    inbox = Inbox(replies={"DATA": [reply]})
    async with serving(inbox), mailer_to(inbox, smtp_timeout_seconds=2) as mailer:
        with pytest.raises(MailUnavailable):
            await mailer.send(email())
        assert len(inbox.emails) == 1
        await mailer.send(email())
        assert len(inbox.emails) == 2
        assert len(inbox.sessions) == 2


async def test_a_cancelled_email_leaves_no_connection_for_the_next_to_misread() -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def holds(server: Server) -> str:
        reached.set()
        await released.wait()
        return "250 OK"

    async with serving(Inbox()) as inbox, mailer_to(inbox) as mailer:
        await mailer.send(email())
        inbox.replies["RCPT"] = [holds]
        sending = asyncio.create_task(mailer.send(email()))
        await reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        released.set()
        await mailer.send(email())
        assert len(inbox.emails) == 2
        assert len(inbox.sessions) == 2


async def test_an_address_beyond_ascii_is_sent_to_a_server_that_takes_it() -> None:
    async with serving(Inbox()) as inbox, mailer_to(inbox) as mailer:
        await mailer.send(email("frédérique@bücher.example"))
        assert inbox.emails[0].rcpt_tos == ["frédérique@xn--bcher-kva.example"]
        assert "SMTPUTF8" in inbox.emails[0].mail_options


async def test_an_address_beyond_ascii_is_refused_by_name_where_the_server_cannot_take_it() -> None:
    async with serving(Inbox(), utf8=False) as inbox, mailer_to(inbox) as mailer:
        with pytest.raises(MailRefused, match="SMTPUTF8"):
            await mailer.send(email("frédérique@blondel.example"))
        assert inbox.emails == []


async def test_no_server_is_worth_another_attempt_and_named() -> None:
    async with serving(Inbox()) as gone:
        pass
    async with mailer_to(gone) as mailer:
        with pytest.raises(MailUnavailable, match=rf"127\.0\.0\.1:{gone.port}"):
            await mailer.send(email())


async def test_a_server_without_starttls_never_sees_the_password() -> None:
    inbox = Inbox()
    options: dict[str, Any] = {"authenticator": inbox.check_password, "auth_require_tls": False}
    async with (
        serving(inbox, **options),
        mailer_to(inbox, smtp_starttls=True, smtp_user="shop", smtp_password="right") as mailer,
    ):
        with pytest.raises(MailUnavailable, match="STARTTLS"):
            await mailer.send(email())
        assert inbox.passwords == []


@pytest.fixture
def server_tls(tmp_path: Path) -> ssl.SSLContext:
    """A self-signed certificate for 127.0.0.1, in `tmp_path / "cert.pem"`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.mark.parametrize(("trusted", "password"), [(True, "right"), (True, "wrong"), (False, "right")])
async def test_starttls_and_password_open_a_session_only_with_a_trusted_server(
    server_tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, password: str
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    inbox = Inbox()
    options: dict[str, Any] = {
        "authenticator": inbox.check_password,
        "tls_context": server_tls,
        "require_starttls": True,
    }
    tls = {"smtp_starttls": True, "smtp_user": "shop", "smtp_password": password}
    async with serving(inbox, **options), mailer_to(inbox, **tls) as mailer:
        if trusted and password == "right":
            await mailer.send(email())
            assert len(inbox.emails) == 1
        else:
            with pytest.raises(MailUnavailable, match=r"CERTIFICATE|535"):
                await mailer.send(email())
            assert inbox.emails == []
        assert set(inbox.passwords) == ({password.encode()} if trusted else set())
