"""The audit of orders: its rules, its queries and the sums that must agree. Called by `ops.audit`."""
