"""The workload of a trial: orders, generated or from a folder, and the outcome that is due for each.

| module         | what                                                                       |
|----------------|----------------------------------------------------------------------------|
| `expectations` | orders, catalogue and the outcome that is due for each order        (pure) |
| `generator`    | generated orders; `names` holds the words they are made of          (pure) |
| `northwind`    | orders from a folder of CSV files, read by `csv_table`                     |
| `catalogue`    | loads the catalogue into a fresh database                                  |
| `seed`         | the same for `lab up`, unless there are products                           |
| `submission`   | POSTs orders and times each                                                |
| `wait`         | waits until every order is finished, or names the stuck ones               |
| `progress`     | a progress bar, or lines without a terminal                                |
"""
