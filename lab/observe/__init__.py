"""`lab observe`: orders and faults go through a system, and Prometheus, its alerts and the dashboards are checked.

| module              | what                                                                              |
|---------------------|-----------------------------------------------------------------------------------|
| `run`               | the trial: start, orders, an outage, the checks                                   |
| `time_scaling`      | the shipped config and rules with every time divided by one factor         (pure) |
| `rules`             | the alert rules: scaled and listed                                         (pure) |
| `rule_tests`        | the alert rules' unit tests, run by promtool                                      |
| `panels`            | the dashboards' queries                                                           |
| `load`              | the faults that come with the orders, and the POSTs that the API must refuse      |
| `outage`            | SAP away: its alert fires, and resolves after it                                  |
| `expected_alerts`   | the alerts that these faults may fire, and those that they must            (pure) |
| `prometheus_checks` | reads targets, rules, alerts and panels from Prometheus                           |
| `totals`            | which sum in Prometheus must equal which count; compared                   (pure) |
| `expected_totals`   | those counts: tables, SAP's ledger, the inbox, the PDFs                           |
| `figures`           | what was found, the failures, and the last line                            (pure) |
| `report`            | what is printed for a person                                                      |
"""
