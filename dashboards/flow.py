"""*Flow*: whether promises are kept, and where orders wait. The page to open first."""

from dashboards.board import Dashboard, Panel, Query, Row, State
from dashboards.queries import QUANTILES, STEP_QUEUES, grown, highest, quantile, quantiles, rate, seen, share

PLACED = 'route="/orders", method="POST"'
PROBES_ASIDE = 'route!~"/metrics|/healthz|/readyz"'
ASKED = grown("waybill_http_request_seconds_count", where=f'{PLACED}, status=~"202|499|5.."')
ACCEPTED = grown("waybill_http_request_seconds_bucket", where=f'{PLACED}, status="202", le="0.2"')
# Each collector judges every order: of several the counts are so many times too high, their quotient is not.
COMPLETED = grown("waybill_orders_due_total", where='outcome="in_time"')
DUE = grown("waybill_orders_due_total")

# Audit reacts to every event: its time says when each event came to be, not how long an effect took.
EFFECT, AUDITED = 'step!="record_audit"', 'step="record_audit"'
NOTIFIED = 'severity!="none"'  # without the watchdog, which always fires
# None, as long as the watchdog shows that the rules are evaluated at all.
FIRING = f'count(ALERTS{{alertstate="firing", {NOTIFIED}}}) or 0 * count(ALERTS{{alertname="WaybillWatchdog"}})'
FIRING_FOR = f'(time() - ALERTS_FOR_STATE{{{NOTIFIED}}}) and ignoring (alertstate) ALERTS{{alertstate="firing"}}'
# The pairs of windows that the alerts on the budgets read, and the burn from which they fire.
BURNS = (("1h", "5m", (1, 14.4)), ("6h", "30m", (1, 6)), ("3d", "6h", (1,)))
# The finished ones may take an hour: among a hundred million.
COUNTED = 'time() - min by (instance) (waybill_orders_watch_last_success_timestamp_seconds{figure!="finished"})'


def _burnt(window: str) -> str:
    return f"max by (slo) (slo:waybill_budget_burn:rate{window})"


PROMISES = Row(
    "Promises",
    (
        Panel(
            "Accepted within 200 ms",
            "Orders answered with 202 within 200 ms, of all but those that were the client's own mistake.",
            (Query(share(ACCEPTED, ASKED, of_nothing=1)),),
            unit="percentunit",
            kind="number",
            width=6,
            below=(0.999,),
        ),
        Panel(
            "Completed within 60 s",
            "Orders completed or rejected within 60 s, of those that have reached that age.",
            (Query(share(COMPLETED, DUE, of_nothing=1)),),
            unit="percentunit",
            kind="number",
            width=6,
            below=(0.99,),
        ),
        Panel(
            "Orders past a deadline",
            "Unfinished orders that wait longer than its deadline for an effect, that of the worst effect.",
            (Query(highest("waybill_orders_overdue")),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "Firing alerts",
            "The number of firing alerts; no data means that Prometheus evaluates no rules.",
            (Query(FIRING),),
            kind="number",
            width=6,
            above=(1,),
        ),
        *(
            Panel(
                f"Error budget burnt, {long}",
                "How many times faster than a month allows each promise's budget is spent; an alert fires when both "
                f"lines of a promise are above {above[-1]:g}.",
                (Query(_burnt(short), f"{{{{slo}}}}, {short}"), Query(_burnt(long), f"{{{{slo}}}}, {long}")),
                above=above,
            )
            for long, short, above in BURNS
        ),
        Panel(
            "Firing alerts and their age",
            "Each firing alert and how long it has fired; docs/runbook.md has a section for each.",
            (Query(FIRING_FOR, "for"),),
            unit="s",
            kind="table",
            width=24,
            empty_when_well="no alert fires.",
        ),
    ),
)

HTTP = Row(
    "HTTP",
    (
        Panel(
            "Requests",
            "Requests answered a second, probes and scrapes aside; status 499: the client left first.",
            (
                Query(
                    rate("waybill_http_requests_total", "route, method, status", PROBES_ASIDE),
                    "{{method}} {{route}} {{status}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Placing an order",
            "How long POST /orders takes, from the request's head to the last byte of the answer.",
            quantiles("waybill_http_request_seconds", PLACED),
            unit="s",
            above=(0.2,),
        ),
        Panel(
            "Orders accepted and refused",
            "Orders stored with their event, and those refused by the kind of problem.",
            (
                Query(rate("waybill_orders_accepted_total"), "accepted"),
                Query(rate("waybill_orders_refused_total", "reason"), "refused: {{reason}}"),
            ),
            unit="ops",
        ),
    ),
)

EFFECTS = Row(
    "From acceptance to each effect",
    (
        *(
            Panel(
                f"Until the effect is there, {name}",
                "From an order's acceptance to a step that is done, by the event that the step reacted to.",
                (
                    Query(
                        quantile("waybill_commit_to_effect_seconds", level, "step, event", EFFECT),
                        "{{step}} ({{event}})",
                    ),
                ),
                unit="s",
                above=(60,),
            )
            for name, level in QUANTILES.items()
        ),
        Panel(
            "Effects",
            "Steps done a second.",
            (Query(rate("waybill_deliveries_total", "step", 'outcome="done"'), "{{step}}"),),
            unit="ops",
        ),
        Panel(
            "Until each event is audited, p95",
            "From an order's acceptance to the audit of each of its events: the order's progress over time.",
            (Query(quantile("waybill_commit_to_effect_seconds", 0.95, "event", AUDITED), "{{event}}"),),
            unit="s",
        ),
        Panel(
            "Events published",
            "Messages a second that the broker has confirmed to the relay.",
            (Query(rate("waybill_relay_settled_total", where='outcome="confirmed"'), "confirmed"),),
            unit="ops",
        ),
    ),
)

WAITING = Row(
    "Waiting",
    (
        Panel(
            "Outbox",
            "Recorded events that the relay's cursor has not advanced past, an estimate.",
            (Query(seen("waybill_outbox_backlog_events"), "backlog"),),
            width=6,
        ),
        Panel(
            "Oldest unpublished event",
            "Its age: it grows whatever prevents publishing.",
            (Query(seen("waybill_outbox_oldest_unpublished_age_seconds"), "age"),),
            unit="s",
            width=6,
            above=(60,),
        ),
        Panel(
            "Queues",
            "Messages in each step's queue, those that a worker runs included.",
            (Query(highest("rabbitmq_queue_messages", "queue", STEP_QUEUES), "{{queue}}"),),
            width=6,
        ),
        Panel(
            "Waiting for their time",
            "Messages that wait in Postgres: retries, deliveries that were handed back, replays.",
            (Query(highest("waybill_scheduled_messages", "queue"), "{{queue}}"),),
            width=6,
        ),
        Panel(
            "Unfinished orders",
            "Unfinished orders by status.",
            (Query(highest("waybill_orders", "status", 'status!~"completed|rejected"'), "{{status}}"),),
            kind="stack",
        ),
        Panel(
            "Oldest unfinished order",
            "The age of the oldest order of each status: the order waits for the step after it.",
            (Query(highest("waybill_orders_oldest_age_seconds", "status"), "{{status}}"),),
            unit="s",
        ),
        Panel(
            "Orders past a deadline, by effect",
            "Unfinished orders that wait for an effect longer than its deadline.",
            (Query(highest("waybill_orders_overdue", "effect"), "{{effect}}"),),
            above=(1,),
        ),
    ),
)

PROGRAMS = Row(
    "Programs",
    (
        Panel(
            "Programs that answer",
            "Whether each program answers Prometheus.",
            (Query("min by (job, instance) (up)", "{{job}} {{instance}}"),),
            kind="states",
            states=(State("no answer", "red"), State("answers", "green")),
        ),
        Panel(
            "Orders in all",
            "All orders by status.",
            (Query(highest("waybill_orders", "status"), "{{status}}"),),
            kind="number",
        ),
        Panel(
            "Orders counted",
            "Time since each collector counted the orders shown here, by its oldest figure.",
            (Query(COUNTED, "{{instance}}"),),
            unit="s",
            above=(30, 120),
        ),
    ),
)

FLOW = Dashboard(
    uid="waybill-flow",
    title="Flow",
    says="From the HTTP request to each effect: promises, rates, latencies, and waiting messages and orders.",
    rows=(PROMISES, HTTP, EFFECTS, WAITING, PROGRAMS),
)
