"""Grafana's dashboards as code: a table of rows and panels for each, from which the committed JSON is made.

`board` says what a dashboard is made of, `queries` how figures are asked for, a module per dashboard what is on it, and
`grafana` turns that into what Grafana reads, with its own SDK, so that fields and their values are right by its schema
where no Grafana runs. `make dashboards` writes deploy/grafana/dashboards anew; a test holds the files to the code.

Nothing at run time needs this package or the SDK: a system is given the JSON.
"""
