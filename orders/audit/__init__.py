"""What orders owe: the rules, the queries and the sums that must agree. Called by ops.audit."""
