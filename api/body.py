"""The reader of request bodies: it accepts only JSON and limits the size, whatever Content-Length claims."""

from http import HTTPStatus

from fastapi import Request

from api.problems import ProblemError

MAX_BODY_BYTES = 1_048_576
# A client that is answered in mid-upload often sees a reset connection instead of the answer:
# the rest is read and dropped, up to this size.
DRAINED_BYTES = 16 * MAX_BODY_BYTES


async def read_json(request: Request) -> bytes:
    """The body's bytes. Raises ProblemError: 415 for another content type or an encoding, 413 for too much."""
    _refuse_other_media(request)
    _refuse_hopeless(request)
    body = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > DRAINED_BYTES:
            break
        if received <= MAX_BODY_BYTES:
            body += chunk
    if received > MAX_BODY_BYTES:
        raise _too_large()
    return bytes(body)


def _refuse_other_media(request: Request) -> None:
    sent = request.headers.get("content-type", "")
    media, _, parameters = sent.partition(";")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    if media.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        detail = f"Content-Type is {sent[:100]!r}; send application/json in UTF-8"
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json", detail, headers={"Accept": "application/json"}
        )
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        detail = f"Content-Encoding is {encoding[:100]!r}; send the body as it is"
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded-body", detail)


def _refuse_hopeless(request: Request) -> None:
    """Refuse at once a body that is too large even to be drained."""
    claimed = request.headers.get("content-length", "0")
    if claimed.isdecimal() and int(claimed[:20]) > DRAINED_BYTES:
        raise _too_large()


def _too_large() -> ProblemError:
    detail = f"the body is larger than {MAX_BODY_BYTES} bytes; an order of 1,000 lines needs about a tenth of that"
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", detail, headers={"Connection": "close"})
