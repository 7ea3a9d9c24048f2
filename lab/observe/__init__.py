"""`lab observe`: is what watches the system right about it? Orders and faults go through, and Prometheus is asked.

| module        | what                                                                              |
|---------------|-----------------------------------------------------------------------------------|
| `run`         | the whole of it: start, orders, an outage, questions, report                      |
| `scaled_file`    | the shipped config and rules in a hurry: one time factor                    (pure) |
| `rules`       | the alert rules: scaled, listed, put to promtool's unit tests                     |
| `panels`      | the dashboards' queries                                                           |
| `load`        | the orders, and the POSTs that no API should accept                               |
| `outage`      | SAP away: its alert fires, and ends with it                                       |
| `expected`    | which alerts these faults may set off, and which they must                 (pure) |
| `sight`       | what Prometheus sees: targets, rules, panels                                      |
| `totals`      | which sum in Prometheus is which count at its place; compared               (pure) |
| `expected_totals`       | those counts: tables, SAP's ledger, the mailbox, the PDFs                         |
| `figures`     | what was found, what of it is wrong, and the last line                      (pure) |
| `report`      | what a person reads                                                               |
"""
