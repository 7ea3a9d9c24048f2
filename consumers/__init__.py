"""The reactions to events: Celery workers, one task per step. The only home of celery and kombu."""
