"""`python -m dashboards` writes what is generated in deploy/: dashboards, lists in rules and their tests, targets."""

from dashboards import files, rule_tests, rules

if __name__ == "__main__":
    files.write()
    rules.write()
    rule_tests.write()
