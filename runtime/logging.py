"""Structured logs: JSON lines for machines, colours for a terminal. One set-up for all loggers.

Our own lines go from structlog straight to standard error. That costs half of the way through the standard library's
logging, and a line below the level costs nothing. Lines of libraries take the standard way and have the same form.
Every line gets the fields of `runtime.log_context`, and every line is redacted by `runtime.redaction.redact`. An
uncaught exception becomes a line too.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from runtime.log_context import FIELDS, current
from runtime.redaction.redact import redacted
from runtime.settings import Settings

# Below these levels the libraries repeat our own lines. celery.app.trace is silenced because it logs exceptions of a
# task after the delivery's log context, and with it the redaction, is gone.
LEVELS = {
    **dict.fromkeys(
        ("pika", "httpx", "httpcore", "amqp", "aiosmtplib", "celery.worker.strategy", "multiprocessing"),
        logging.WARNING,
    ),
    "celery.app.trace": logging.CRITICAL,
}
# Fields that never hold text from outside: in a line of a library, and in one of ours, where we chose the event name.
_THEIRS = frozenset({"level", "logger", "process", "timestamp", "_record", "_from_structlog", *FIELDS})
_OURS = _THEIRS | {"event"}

Line = MutableMapping[str, Any]


class _StandardError:
    """Sink of structlog's finished lines; one write each, so that lines of several processes do not mix."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write one line. A line that cannot be written is lost, as with the standard library; no caller fails for it.

        Losses are not counted: a line that a full disk refused may still be in the buffer and be written later.
        """
        with contextlib.suppress(OSError, ValueError):  # a full disk, a reader that has gone, a closed file
            if sys.stderr is not None:  # it is None in a process started without one
                sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


def configure_logging(settings: Settings, process: str) -> None:
    """Send every log line of this process to standard error, with its level, time and the process's name."""

    def add_context(_logger: object, _method: str, line: Line) -> Line:
        line["process"] = process
        context = current()
        if context is not None:
            for name, value in context.fields().items():
                line.setdefault(name, value)
        return line

    shared: list[Processor] = [
        add_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    _set_up_libraries(settings, shared, renderer)
    _log_uncaught()
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=_StandardError,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger that takes an event name and key-value pairs."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


log = get_logger(__name__)


def redact(_logger: object, _method: str, line: Line) -> Line:
    """Redact every text of a line."""
    ours = _THEIRS if "_record" in line else _OURS
    for name, value in line.items():
        if name not in ours and value is not None:
            line[name] = _hidden(value)
    return line


def _hidden(value: object) -> object:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list | tuple):
        return [_hidden(one) for one in value]
    if isinstance(value, dict):
        return {str(_hidden(name)): _hidden(one) for name, one in value.items()}
    return value if isinstance(value, bool | int | float) else redacted(_text_of(value))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a log call must not fail for its values
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def _log_uncaught() -> None:
    def uncaught(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
        log.critical("uncaught", exc_info=error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            log.critical("uncaught", thread=getattr(args.thread, "name", None), exc_info=args.exc_value)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        log.critical("uncaught", object=args.object, exc_info=args.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable


def _set_up_libraries(settings: Settings, shared: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
