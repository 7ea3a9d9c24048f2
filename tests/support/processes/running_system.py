"""A running system from outside: place orders, query its database, read its inbox."""

import asyncio
import email
from email import policy
from typing import Any

import asyncpg
import httpx

from lab.stack.local import LocalStack
from tests.support.deadlines import ANSWER_SECONDS

# Secrets that no log may show. The SAP sandbox asks for its password. No server listens at the webhook.
SECRETS = {
    "SAP_PASSWORD": "sap-7f3a9c51",
    "SMTP_PASSWORD": "smtp-c02be418",
    "ALERT_WEBHOOK_URL": "http://127.0.0.1:1/hooks/hook-91d6e0aa",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20otlp-5be7703d",
}


def order(reference: str, **line: object) -> dict[str, Any]:
    return {
        "reference": reference,
        "customer": {
            "name": "Żaneta O'Łoś",
            "email": f"{reference.lower()}@example.com",
            "address": {"street": "ul. Św. Jana 3", "city": "Kraków", "country": "Poland"},
        },
        "currency": "EUR",
        "lines": [
            {"sku": "TEA-DARJ-S", "quantity": 2, "unit_price": "6.90", "discount": "0.05"},
            {"sku": "TEA-DARJ-S", "quantity": 1, "unit_price": "6.90"},
            {"sku": "TEA-ASSM-S", "quantity": 3, "unit_price": "4.35", **line},
        ],
    }


def place(stack: LocalStack, body: dict[str, Any]) -> str:
    answer = httpx.post(f"{stack.api_url}/orders", json=body, timeout=ANSWER_SECONDS)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def query(stack: LocalStack, sql: str, *values: object) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(stack.database_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    return asyncio.run(run())


def emails_to(stack: LocalStack, address: str) -> list[email.message.EmailMessage]:
    emails = [
        email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in stack.inbox_dir.rglob("*.eml")
    ]
    return [email for email in emails if email["To"].addresses[0].addr_spec == address]
