"""*Steps*: outcomes, durations and retries of each step, the load of its workers, its circuit."""

from dashboards.board import Choice, Dashboard, Panel, Query, Row, State
from dashboards.queries import QUANTILES, STEP_QUEUES, grown, highest, quantile, rate, share, total

CHOSEN = 'step=~"$step"'


def _deliveries(outcomes: str, by: str = "step, outcome") -> str:
    return rate("waybill_deliveries_total", by, f'{CHOSEN}, outcome=~"{outcomes}"')


OUTCOMES = Row(
    "Outcomes",
    (
        Panel(
            "Done",
            "Steps done a second: the effect is there.",
            (Query(_deliveries("done", by="step"), "{{step}}"),),
            unit="ops",
        ),
        Panel(
            "Not done",
            "Attempts a second that were retried after a failure, away during an outage, or dead: dead-lettered.",
            (Query(_deliveries("retried|away|dead"), "{{step}} {{outcome}}"),),
            unit="ops",
        ),
        Panel(
            "Nothing to do",
            "Deliveries a second that were done before, that are stale, or that another worker runs.",
            (Query(_deliveries("duplicate|stale|busy"), "{{step}} {{outcome}}"),),
            unit="ops",
        ),
    ),
)

DURATION = Row(
    "Duration",
    tuple(
        Panel(
            f"One attempt, {name}",
            "From the start of an attempt in a worker's child to its end, however it ended.",
            (Query(quantile("waybill_step_seconds", level, "step", CHOSEN), "{{step}}"),),
            unit="s",
        )
        for name, level in QUANTILES.items()
    ),
)

RETRIES = Row(
    "Retries",
    (
        Panel(
            "Retried attempts",
            "The share of attempts that failed and are retried, outages aside; an alert fires from a quarter on.",
            (
                Query(
                    share(_deliveries("retried", "step"), _deliveries("done|retried|dead", "step"), of_nothing=0),
                    "{{step}}",
                ),
            ),
            unit="percentunit",
            above=(0.25,),
        ),
        Panel(
            "Waiting for their time",
            "Messages that wait in Postgres, by queue: retries, deliveries that were handed back, replays.",
            (Query(highest("waybill_scheduled_messages", "queue"), "{{queue}}"),),
        ),
        Panel(
            "Dead-lettered",
            "Deliveries dead-lettered within the time shown, counted when the collector stores them.",
            (Query(grown("waybill_steps_dead_lettered_total", "step", CHOSEN), "deliveries"),),
            kind="table",
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Busy",
            "The share of their time that the children of a pool spend on deliveries; an alert fires from 0.9 on.",
            (
                Query(
                    f"{rate('waybill_worker_busy_seconds_total', 'pool')} / {total('waybill_worker_children', 'pool')}",
                    "{{pool}}",
                ),
            ),
            unit="percentunit",
            above=(0.7, 0.9),
        ),
        Panel(
            "Running",
            "Deliveries that children run now.",
            (Query(total("waybill_deliveries_running", "step", CHOSEN), "{{step}}"),),
        ),
        Panel(
            "Queues",
            "Messages in each step's queue that no worker has taken yet.",
            (Query(highest("rabbitmq_queue_messages_ready", "queue", STEP_QUEUES), "{{queue}}"),),
        ),
        Panel(
            "Children",
            "Children that the workers of each pool are configured to have.",
            (Query(total("waybill_worker_children", "pool"), "{{pool}}"),),
            width=6,
        ),
        Panel(
            "Children lost",
            "Deliveries within the time shown whose child died (log event child_lost); they come again.",
            (Query(grown("waybill_worker_children_lost_total", "pool"), "deliveries"),),
            kind="table",
            width=6,
        ),
        Panel(
            "Consumers",
            "Workers that consume each queue.",
            (Query(highest("rabbitmq_queue_consumers", "queue", STEP_QUEUES), "{{queue}}"),),
            width=6,
        ),
        Panel(
            "Uncounted",
            "Deliveries a second that no figure of a worker counts, because it was too busy to read them.",
            (Query(rate("waybill_worker_reports_lost_total", "pool"), "{{pool}}"),),
            unit="ops",
            width=6,
        ),
    ),
)

CIRCUIT = Row(
    "Circuit",
    (
        Panel(
            "Outside systems",
            "During an outage the workers do not consume the queue, and no attempt is used.",
            (Query(highest("waybill_circuit_open", "queue"), "{{queue}}"),),
            kind="states",
            width=24,
            states=(State("there", "green"), State("away", "red")),
        ),
    ),
)

STEPS = Dashboard(
    uid="waybill-steps",
    title="Steps",
    says="Each step: outcomes, duration, retries, the load of its workers, and outages of the system that it calls.",
    rows=(OUTCOMES, DURATION, RETRIES, SATURATION, CIRCUIT),
    choices=(Choice("step", "Step", "waybill_deliveries_total"),),
)
