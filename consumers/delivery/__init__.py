"""One delivery of an event to a step: claim, run, finish, retry or dead-letter. Called by `consumers.worker`.

Start at `consumers.delivery.pipeline`.
"""
