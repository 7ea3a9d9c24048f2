"""The lab never ships: a whole system on this machine, and the programs that demonstrate, test and measure it.

    demo  soak  prove  observe   trials: orders through a fresh system, then a verdict
    bench                        the benchmark of the relay
    trial  effects  percentiles  what the trials share: the skeleton, the gatherer of effects, one formula
    workload                     orders to send, and the outcome that is due
    stack                        the system on this machine: servers, sandboxes, programs
    sandbox                      stand-ins for SAP and the mail server; they share no code with the product
    tcp_proxy                    proxies that cut connections and hold answers back, for the proof and the tests
    checks                       the project's own lints

Nothing that ships imports `lab`.
"""
