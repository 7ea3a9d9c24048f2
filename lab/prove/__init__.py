"""`lab prove`: orders are submitted while everything fails at random; then each effect is counted where it landed.

parameters         how many orders, which faults, how long, and what a proof needs to count           (pure)
system_under_test  the running system as faults see it: pids, queries, knobs, queues
faults/plan        which faults, when, on which program: drawn from a seed                            (pure)
faults/*           one coroutine per kind of fault; it returns once the effect was observed
faults/injector    runs the plan and counts the effects that were observed while an order was unfinished
load               submits orders at a pace, and sends an order again until it is accepted
recorder           a queue of its own that records in which order the first copies of events arrive
recovery           turns all faults off, replays dead letters, waits until nothing is left to do
judge/gather       reads what landed, with queries of its own
judge/judge        what is lost, done twice, out of order or unfinished                               (pure)
judge/audit_cross_check
                   what the completeness audit finds on the same system
judge/evidence     all that is known of the first orders with a finding
figures            the last line, and whether it is a proof                                           (pure)
report             what is printed for a person
run                all of it in order
"""
