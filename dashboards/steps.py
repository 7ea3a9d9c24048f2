"""*Steps*: how each step fares, how full its workers are, and what it waits for."""

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
            "Tries a second that were retried after a failure, away because nobody was there, or dead: given up.",
            (Query(_deliveries("retried|away|dead"), "{{step}} {{outcome}}"),),
            unit="ops",
        ),
        Panel(
            "Nothing to do",
            "Deliveries a second that were done before, that a later try has overtaken, or that another worker has.",
            (Query(_deliveries("duplicate|stale|busy"), "{{step}} {{outcome}}"),),
            unit="ops",
        ),
    ),
)

DURATION = Row(
    "Duration",
    tuple(
        Panel(
            f"One try, {name}",
            "From the beginning of a try in a worker's child to its end, however it ended.",
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
            "Tries that are tried again",
            "The share of tries that failed and have another one, an outage aside; people are told from a quarter on.",
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
            "Given up",
            "Deliveries given up within the time shown, counted when their letter is stored.",
            (Query(grown("waybill_steps_given_up_total", "step", CHOSEN), "deliveries"),),
            kind="table",
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Busy",
            "The share of their time that the children of a pool spend on deliveries; people are told from 0.9 on.",
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
            "Deliveries that children are at now.",
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
            "Deliveries within the time shown whose child died: the log says child_lost, and they come again.",
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
            "Deliveries a second that no figure of a worker counts, because it did not come round to reading.",
            (Query(rate("waybill_worker_words_lost_total", "pool"), "{{pool}}"),),
            unit="ops",
            width=6,
        ),
    ),
)

CIRCUIT = Row(
    "Circuit",
    (
        Panel(
            "Outside world",
            "While what a queue's step calls is away, its workers leave the queue alone and no try is spent.",
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
    says="How each step fares: outcomes, duration, retries, how full its workers are, whether the outside is there.",
    rows=(OUTCOMES, DURATION, RETRIES, SATURATION, CIRCUIT),
    choices=(Choice("step", "Step", "waybill_deliveries_total"),),
)
