"""Settings of Waybill, read once from the environment.

Names carry their unit. Each default is safe for production or has none: a process that lacks an address it needs
fails at start with the variable's name, instead of at the first order.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A variable is missing or unusable; the message names it, its value and what is wrong."""


class Settings(BaseSettings):
    """One field per environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    database_url: str = Field(description="postgresql://user:password@host:port/database", pattern=r"^postgres(ql)?://")
    amqp_url: str = Field(description="amqp://user:password@host:port/vhost", pattern=r"^amqps?://")
    database_pool_size: int = Field(default=5, ge=1, description="connections per process")

    api_host: str = Field(default="127.0.0.1", description="address that the API listens on")
    api_port: int = Field(default=8080, ge=1, le=65535, description="port that the API listens on")

    event_source: str = Field(default="urn:waybill:orders", description="CloudEvents source of every event")

    outbox_retention_days: float = Field(
        default=30.0,
        gt=0,
        description="events, once published, and the cursor's log are kept this long after they were recorded",
    )

    inbox_retention_days: float = Field(
        default=100.0,
        gt=0,
        description="the inbox keeps an event this long, and longer while its dead letter can be replayed",
    )

    event_exchange: str = Field(default="orders.events", description="topic exchange that events are published to")

    relay_page_size: int = Field(default=500, ge=1, le=10_000, description="events read and confirmed at once")
    relay_window: int = Field(default=1000, ge=1, description="messages published and not yet confirmed, at most")
    relay_open_events: int = Field(
        default=10_000, ge=1, description="events read that the cursor has not advanced past, at most, or one page"
    )
    relay_open_bytes: int = Field(
        default=67_108_864, ge=1, description="data of such events, at most, before another page is read"
    )
    relay_idle_poll_seconds: float = Field(default=0.05, gt=0, le=10, description="longest pause between two polls")
    relay_lease_seconds: float = Field(default=3.0, gt=0.5, description="a leader silent for this long is replaced")
    relay_http_host: str = Field(default="127.0.0.1", description="address of the relay's metrics and probes")
    relay_http_port: int = Field(default=0, ge=0, le=65535, description="their port; 0: none")

    retry_base_seconds: float = Field(default=1.0, gt=0, description="first back-off of every step but SAP's")
    sap_retry_base_seconds: float = Field(default=20.0, gt=0, description="first back-off of the SAP step")
    delivery_lease_seconds: float = Field(default=30.0, gt=1, description="a claim not renewed this long is void")

    collector_http_host: str = Field(default="127.0.0.1", description="address of the collector's metrics")
    collector_http_port: int = Field(default=0, ge=0, le=65535, description="their port; 0: none")
    worker_http_host: str = Field(default="127.0.0.1", description="address of a worker's metrics")
    worker_http_port: int = Field(default=0, ge=0, le=65535, description="their port; 0: none")
    alert_webhook_url: SecretStr | None = Field(
        default=None, description="webhook for alerts about dead letters, in Slack's format; none: no alerts"
    )
    alert_interval_seconds: float = Field(
        default=3600.0, gt=0, description="dead letters of one cause give one alert in this time"
    )

    sap_url: str = Field(default="http://127.0.0.1:8090", description="host of the OData service, without path")
    sap_user: str = Field(default="waybill", description="basic authentication at SAP")
    sap_password: SecretStr = Field(default=SecretStr("waybill"), description="basic authentication at SAP")
    sap_timeout_seconds: float = Field(default=15.0, gt=0, description="one HTTP call, connect to last byte")
    sap_commit_seconds: float = Field(
        default=60.0,
        ge=0,
        description="SAP's longest commit after its client has gone; the next attempt waits it out",
    )
    sap_sales_order_type: str = Field(default="OR", description="SAP: document type of web orders")
    sap_sales_organization: str = Field(default="1010", description="SAP: sales organisation")
    sap_distribution_channel: str = Field(default="10", description="SAP: distribution channel")
    sap_division: str = Field(default="00", description="SAP: division")
    sap_sold_to_party: str = Field(default="10100001", description="SAP's business partner of web orders")

    smtp_host: str = Field(default="127.0.0.1", description="mail server")
    smtp_port: int = Field(default=2525, ge=1, le=65535, description="its port")
    smtp_user: str | None = Field(default=None, description="login at the mail server; none: no login")
    smtp_password: SecretStr | None = Field(default=None, description="login at the mail server")
    smtp_starttls: bool = Field(default=False, description="refuse to send without TLS")
    smtp_timeout_seconds: float = Field(default=15.0, gt=0, description="one SMTP command")
    mail_from: str = Field(default="Waybill Orders <orders@waybill.example>", description="sender of every e-mail")

    documents_dir: Path = Field(default=Path("documents"), description="where invoices are kept")

    seller_name: str = Field(default="Waybill Trading", description="the seller on the invoice")
    seller_street: str = Field(default="1 Harbour Road", description="the seller on the invoice")
    seller_postal_code: str = Field(default="20457", description="the seller on the invoice")
    seller_city: str = Field(default="Hamburg", description="the seller on the invoice")
    seller_country: str = Field(default="Germany", description="the seller on the invoice")
    seller_tax_id: str = Field(default="DE123456789", description="the seller on the invoice")
    seller_email: str = Field(default="orders@waybill.example", description="the seller on the invoice")

    tracing_otlp_url: str | None = Field(
        default=None,
        pattern=r"^(https?://.+)?$",
        description="base address of a collector for traces, OTLP over HTTP; none: no tracing",
    )
    tracing_sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="share of the traces started here that are recorded"
    )

    log_format: Literal["json", "console"] = Field(default="json", description="`json` or `console`")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="the lowest level shown"
    )

    @model_validator(mode="after")
    def _inbox_outlives_the_outbox(self) -> "Settings":
        if self.inbox_retention_days <= self.outbox_retention_days:
            raise ValueError(
                f"INBOX_RETENTION_DAYS {self.inbox_retention_days:g} must be above OUTBOX_RETENTION_DAYS "
                f"{self.outbox_retention_days:g}: the inbox must know every event that can come again"
            )
        return self


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The process's settings.

    Raises SettingsError naming each variable that is missing or unusable, with its value (secrets hidden).
    """
    try:
        return Settings()  # the environment is the argument
    except ValidationError as error:
        problems = [_described(problem) for problem in error.errors()]
        raise SettingsError("unusable settings: " + "; ".join(problems)) from error


def _described(problem: ErrorDetails) -> str:
    """One problem: variable, error, value. The message of a problem between variables names them itself."""
    if not problem["loc"]:
        return problem["msg"].removeprefix("Value error, ")
    name = ".".join(str(part) for part in problem["loc"]).upper()
    return f"{name}: {problem['msg']}" + ("" if problem["type"] == "missing" else f" (got {_shown(problem)})")


def _shown(problem: ErrorDetails) -> str:
    """A refused value without passwords: neither the variable's own nor one within an address."""
    if "password" in str(problem["loc"]):
        return "a secret"
    return re.sub(r"//[^/@]*@", "//***@", repr(problem["input"]))
