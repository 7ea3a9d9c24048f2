"""Grafana's dashboards as code: a table of rows and panels for each, from which the committed JSON is made.

`board` has the parts of a dashboard, `queries` the forms of expressions, one module per dashboard its panels.
`grafana` makes Grafana's JSON with its SDK, so that fields and values fit its schema although no Grafana runs here.
`rules` writes the lists in the alert rules and the scrape targets. `make dashboards` writes all files; a test holds
them to the code.

Nothing at run time needs this package or the SDK: a system gets the JSON.
"""
