from pathlib import Path
from typing import cast

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from lab.sandbox.mail.inbox import Inbox, InboxError
from lab.sandbox.mail.smtp import Postmaster


def test_an_inbox_in_use_is_not_opened_twice(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    with pytest.raises(InboxError, match="is in use by another process"):
        Inbox(tmp_path)
    inbox.close()
    Inbox(tmp_path).close()


async def test_a_message_without_headers_is_kept_all_the_same(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    message = await inbox.keep(b"\r\n\xff\xfe no dead letter at all")
    inbox.close()
    assert (tmp_path / message.file).read_bytes() == b"\r\n\xff\xfe no dead letter at all"
    assert (message.message_id, message.sender, message.recipients, message.subject) == ("", "", (), "")


async def test_a_message_that_cannot_be_kept_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lab.sandbox.mail.inbox.os.fsync", full)
    inbox = Inbox(tmp_path)
    envelope = Envelope()
    envelope.content = b"Subject: x\r\n\r\n"
    handler = Postmaster(inbox)
    answer = await handler.handle_DATA(cast("SMTP", None), cast("Session", None), envelope)
    inbox.close()
    assert answer == "451 4.3.0 Cannot keep the message: No space left on device"
    assert inbox.messages == ()
