"""`lab prove`: orders are submitted while everything fails at random; then each effect is counted where it landed.

plan       which faults, when, whom: drawn from a seed                                (pure)
proxy      between the programs and the two servers: cuts connections, holds answers back
rig        the running system as faults see it: pids, queries, knobs, queues
faults_*   one coroutine per kind of fault, which returns when its effect was seen
injector   runs the plan and counts what was seen while an order was unfinished
load       submits orders at a pace and never takes silence for an answer
recorder   a queue of prove's own: in which order the first copies of events arrive
healing    all faults off, dead letters replayed, quiet awaited
facts      what was found where it landed                                             (pure)
gather     finds it
judge      what is lost, done twice, out of order or unfinished                       (pure)
second_opinion
           what the completeness ledger says of the same system
figures    the last line, and whether it is a proof                                   (pure)
evidence   what is known of the first orders that something is wrong with
report     what a person reads
run        all of it in one order
"""
