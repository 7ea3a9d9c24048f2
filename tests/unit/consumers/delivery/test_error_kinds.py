"""What each error means for another try, and that what failed for one cause has one fingerprint."""

import pytest
from asyncpg.exceptions import DeadlockDetectedError, LockNotAvailableError, NotNullViolationError
from sqlalchemy.exc import DBAPIError

from consumers.adapters.erp import ErpRefused, ErpUnavailable, ErpUnreached
from consumers.adapters.mailer import MailRefused, MailUnavailable
from consumers.adapters.typesetter import TypesetError
from consumers.delivery.error_kinds import KilledWorkerError, StepError, failure_of, fingerprint, kind_of, wait_seconds
from orders.workflow import RETRYABLE, STEPS, ErrorKind
from outbox.envelope import EnvelopeError, decode
from runtime.documents import DocumentStoreError


class _DatabaseError(Exception):
    """What SQLAlchemy's dialect makes of a driver's error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.sqlstate = getattr(error, "sqlstate", None)


def wrapped(error: Exception) -> DBAPIError:
    return DBAPIError("SELECT", {}, _DatabaseError(error))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ErpUnreached("no connection"), ErrorKind.CONNECTION),
        (ErpUnavailable("503"), ErrorKind.SERVER),
        (ErpUnavailable("429", kind=ErrorKind.THROTTLED), ErrorKind.THROTTLED),
        (ErpRefused("400"), ErrorKind.REFUSED),
        (MailUnavailable("451"), ErrorKind.SERVER),
        (MailRefused("550"), ErrorKind.REFUSED),
        (TypesetError("no font"), ErrorKind.BAD_DATA),
        (DocumentStoreError("disk full"), ErrorKind.SERVER),
        (StepError("slow", kind=ErrorKind.TIMEOUT), ErrorKind.TIMEOUT),
        (wrapped(LockNotAvailableError("lock")), ErrorKind.LOCK),
        (wrapped(DeadlockDetectedError("deadlock")), ErrorKind.LOCK),
        (wrapped(NotNullViolationError("null")), ErrorKind.BAD_DATA),
        (ConnectionResetError(), ErrorKind.CONNECTION),
        (KeyError("nobody thought of it"), ErrorKind.UNEXPECTED),
    ],
)
def test_each_error_has_its_kind(error: Exception, kind: ErrorKind) -> None:
    assert kind_of(error) is kind


def test_what_is_asked_wrongly_is_never_asked_again_and_all_else_is() -> None:
    assert set(ErrorKind) - RETRYABLE == {ErrorKind.REFUSED, ErrorKind.BAD_DATA}
    assert {step.retry.worth_another_attempt for step in STEPS} == {RETRYABLE}


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - whatever was given
        return caught


def test_a_fingerprint_names_class_and_innermost_place_in_our_code_without_a_line() -> None:
    with pytest.raises(EnvelopeError) as raised:
        decode({}, b"")
    assert fingerprint(raised.value) == "EnvelopeError@outbox.envelope:_text"


def test_an_error_from_outside_our_code_has_a_fingerprint_too() -> None:
    assert fingerprint(_raised(KilledWorkerError("begun 3 times"))) == "KilledWorkerError@unknown"


def test_a_step_error_that_wraps_another_has_the_others_name() -> None:
    def fail() -> None:
        try:
            raise ErpUnavailable("SAP answered 503")
        except ErpUnavailable as error:
            raise StepError("SAP answered 503", 60, kind=error.kind) from error

    with pytest.raises(StepError) as raised:
        fail()
    failure = failure_of(raised.value)
    assert (failure.error_class, failure.message) == ("ErpUnavailable", "SAP answered 503")
    assert "StepError" in failure.trace
    assert (wait_seconds(raised.value), wait_seconds(ValueError())) == (60, 0)
