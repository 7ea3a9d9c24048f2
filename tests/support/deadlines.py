"""How long a test waits for an answer that is sure to come: a machine that pauses for seconds is nobody's fault."""

ANSWER_SECONDS = 60
