"""`lab demo`: orders through a fresh system, then every effect counted in the place where it landed.

| module     | what                                                                                 |
|------------|--------------------------------------------------------------------------------------|
| `run`      | the trial: which orders, which faults, the exit code                                 |
| `gather`   | reads what landed: the completeness audit, SAP's ledger, e-mails, PDFs, tables       |
| `facts`    | what was found                                                                (pure) |
| `count`    | the figures, and each figure beside the one that was due                      (pure) |
| `figures`  | the figures, the times, the last line                                         (pure) |
| `pdf_text` | the text of one PDF, in a process of its own                                         |
| `report`   | the tables that a person reads                                                       |
"""
