"""`python -m dashboards` writes the dashboards' files; `make dashboards` calls it."""

from dashboards.files import write

if __name__ == "__main__":
    write()
