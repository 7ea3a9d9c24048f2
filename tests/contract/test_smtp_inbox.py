"""The inbox over real SMTP: it keeps each acknowledged message byte for byte, and refuses recipients on demand."""

import asyncio
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest

from tests.support.deadlines import ANSWER_SECONDS
from tests.support.processes.sandboxes import Smtp, start_smtp


def email(to: str = "zoë@example.org", subject: str = "Grüße an Þórunn O'Hara") -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = "<0199c0de@waybill.example>"
    message["Date"] = "Sun, 22 Nov 2026 19:00:00 +0000"
    message["From"] = "Waybill Orders <orders@waybill.example>"
    message["To"] = to
    message["Subject"] = subject
    message.set_content("Ernst Händel, 8010 Graz\n.a line that opens with a dot\n", cte="8bit")
    return message


def send(inbox: Smtp, message: EmailMessage) -> None:
    asyncio.run(aiosmtplib.send(message, hostname="127.0.0.1", port=inbox.port))


def test_a_message_with_accents_is_kept_byte_for_byte(inbox: Smtp) -> None:
    content = (
        "Message-ID: <1@waybill.example>\r\nFrom: orders@waybill.example\r\nTo: zoë@example.org\r\n"
        "Subject: Grüße an Þórunn\r\n\r\nErnst Händel\r\n.dotted\r\n..twice\r\n"
    ).encode()

    async def deliver() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=inbox.port) as smtp:
            options = ["SMTPUTF8", "BODY=8BITMIME"]
            await smtp.sendmail("orders@waybill.example", ["zoë@example.org"], content, mail_options=options)

    asyncio.run(deliver())
    (message,) = inbox.messages_to("zoë@example.org")
    assert (inbox.folder / message["file"]).read_bytes() == content
    assert httpx.get(f"{inbox.url}/messages/{message['number']}", timeout=ANSWER_SECONDS).content == content
    assert (message["to"], message["subject"]) == (["zoë@example.org"], "Grüße an Þórunn")


def test_the_list_shows_decoded_headers_oldest_first(inbox: Smtp) -> None:
    send(inbox, email("kunde@example.org"))
    send(inbox, email("Ann <ann@example.org>, bo@example.org", "second"))
    first, second = inbox.messages()[-2:]
    assert second["number"] == first["number"] + 1
    assert first == {
        "number": first["number"],
        "message_id": "<0199c0de@waybill.example>",
        "from": "Waybill Orders <orders@waybill.example>",
        "to": ["kunde@example.org"],
        "subject": "Grüße an Þórunn O'Hara",
        "date": "Sun, 22 Nov 2026 19:00:00 +0000",
        "file": f"{first['number']:06d}.eml",
    }
    assert (second["to"], second["subject"]) == (["ann@example.org", "bo@example.org"], "second")
    assert "Grüße an Þórunn O&#x27;Hara" in httpx.get(inbox.url, timeout=ANSWER_SECONDS).text


@pytest.mark.parametrize(("code", "counter"), [(451, "refused_for_now"), (550, "refused_for_good")])
def test_recipients_are_refused_on_demand_until_the_rule_is_lifted(inbox: Smtp, code: int, counter: str) -> None:
    before = inbox.get("/counts")
    there, elsewhere = f"ann@shut{code}.example", f"ann@open{code}.example"
    inbox.refuse((f"*@SHUT{code}.example", code))
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        send(inbox, email(there))
    assert [refused.code for refused in caught.value.recipients] == [code]
    send(inbox, email(elsewhere))
    changed = {"messages": before["messages"] + 1, counter: before[counter] + 1}
    assert inbox.get("/counts") == before | changed
    assert inbox.messages_to(there) == []

    inbox.refuse()
    send(inbox, email(there))
    assert len(inbox.messages_to(there)) == len(inbox.messages_to(elsewhere)) == 1


def test_messages_outlive_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    with start_smtp(tmp_path) as inbox:
        send(inbox, email("ann@example.org"))
        inbox.kill()
    (inbox.folder / "000002.part").write_bytes(b"never acknowledged")
    with start_smtp(tmp_path) as inbox:
        send(inbox, email("bo@example.org"))
        assert [message["file"] for message in inbox.messages()] == ["000001.eml", "000002.eml"]
        assert sorted(path.name for path in inbox.folder.iterdir()) == ["000001.eml", "000002.eml"]
        assert inbox.stop() == 0


async def test_many_messages_at_once_are_all_kept(inbox: Smtp) -> None:
    async def deliver() -> None:
        emails = (email(f"c{n}@example.org") for n in range(50))
        await asyncio.gather(*(aiosmtplib.send(one, hostname="127.0.0.1", port=inbox.port) for one in emails))

    await deliver()
    assert {message["to"][0] for message in inbox.messages()} >= {f"c{n}@example.org" for n in range(50)}
