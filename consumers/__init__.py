"""The reactions to events, in two programs: workers that run the steps, and the collector of dead letters.

    worker ─▶ steps ─▶ delivery ─▶ adapters          collector ─▶ delivery.message_check

The only home of celery and kombu. `topology` derives exchanges and queues from `orders.workflow`; `amqp_messages` has
the message classes of both programs.
"""
