"""`python -m dashboards` writes all generated files of deploy/: dashboards, rule lists, scrape targets."""

from dashboards import files, rules

if __name__ == "__main__":
    files.write()
    rules.write()
