"""The code of the steps, one module for each row of `orders.workflow.STEPS`, named after the row's queue.

A module names its class in `STEP_CLASS`; `consumers.steps.load` finds it.
"""
