"""The position of the cursor, and the rule "has it advanced past this event", as SQL fragments: their only home.

The cursor is the newest row of `outbox.pages`: the page's window, from the snapshot `old` to the snapshot `new`, and
the last id that was confirmed in it. What an event is to the cursor depends on its transaction's id, its own id, and
the floor of the newest adoption:

      xid of the event            advanced past?
    ──────────────────────────────────────────────────────────────────────────────────
      visible in `old`            yes: an earlier window had it
      visible in `new` only       it is in this window: yes up to `last_id`, no above it
      visible in neither          no: a later window will have it

      id at or below the floor    yes, whatever its xid: confirmed in another cluster

    old ─────────── new ─────────── now
     │ this window   │ later windows      one event each:  a  a visible in old       passed
     a       b   c   │   d                                 b  id <= last_id          passed
                 └ last_id < c                             c  id >  last_id          not passed
                                                           d  visible in neither     not passed

Ids alone do not decide: a transaction that commits late brings low ids into a late window.

Composed by `reader` (what a window holds), `backlog` (the first rows not passed), `id_ranges` and
`outbox.partitions.expire_events` (rows not passed), `message_tracking` (the first page that passed a message) and
`cluster_adoption` (rows that the cursor has not seen). The fragments are text from our own code only.
"""

# The cursor's place for a reader that resumes. Without a page since the newest adoption the last three are null:
# everything above the floor is new.
CURSOR = """
SELECT floor_id, old_snapshot, new_snapshot, last_id
FROM (SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1) AS adopted
LEFT JOIN LATERAL (
  SELECT old_snapshot, new_snapshot, last_id FROM outbox.pages WHERE page > after_page ORDER BY page DESC LIMIT 1
) AS newest ON true"""

# The same as a CTE of one row without nulls, for `NOT_PASSED`. Pages up to `after_page` are another cluster's. Without
# a page, both snapshots are from before every transaction.
WITH_CURSOR = """
WITH adopted AS (SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1),
newest AS (
  SELECT old_snapshot AS old, new_snapshot AS new, last_id FROM outbox.pages
  WHERE page > coalesce((SELECT after_page FROM adopted), 0) ORDER BY page DESC LIMIT 1),
cursor AS MATERIALIZED (
  SELECT coalesce((SELECT floor_id FROM adopted), 0) AS floor, coalesce(last_id, -1) AS last_id,
         coalesce(old, '1:1:') AS old, coalesce(new, '1:1:') AS new
  FROM (SELECT) AS one_row LEFT JOIN newest ON true)"""


def passed_with(old: str, new: str, last_id: str, *, xid: str = "xid", event: str = "id") -> str:
    """Whether the page (`old`, `new`, `last_id`) or an earlier one has an event above the floor."""
    return f"(pg_visible_in_snapshot({xid}, {old}) OR (pg_visible_in_snapshot({xid}, {new}) AND {event} <= {last_id}))"


# Whether a row of `outbox.events` or of one of its segments is not passed, after WITH_CURSOR. The bound on xid follows
# from the rest: it is for the index on (xid, id).
NOT_PASSED = f"""id > (SELECT floor FROM cursor) AND xid >= pg_snapshot_xmin((SELECT old FROM cursor))
      AND NOT {passed_with("(SELECT old FROM cursor)", "(SELECT new FROM cursor)", "(SELECT last_id FROM cursor)")}"""  # noqa: S608


def not_seen(new: str) -> str:
    """Whether a row is in no window up to the snapshot `new`. The bound on xid is for the index, as in NOT_PASSED."""
    return f"xid >= pg_snapshot_xmin({new}) AND NOT pg_visible_in_snapshot(xid, {new})"


# A window in three conditions. A row that is visible in `new` and not in `old` is of a transaction that began between
# the two snapshots, or of one that was running in the first.


def started_between(old: str, new: str) -> str:
    """The transactions that began after `old` and before `new`, as a range of the index on (xid, id)."""
    return f"xid >= pg_snapshot_xmax({old}) AND xid < pg_snapshot_xmax({new})"


def running_in(old: str) -> str:
    """The transactions that were running in `old`, one by one."""
    return f"xid = ANY(ARRAY(SELECT pg_snapshot_xip({old})))"


def in_window(old: str, new: str) -> str:
    """Whether a row is in the window (`old`, `new`], as a filter of rows that are read anyway."""
    return f"(({started_between(old, new)}) OR {running_in(old)}) AND pg_visible_in_snapshot(xid, {new})"
