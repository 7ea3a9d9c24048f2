"""Hypothesis strategies for every value that an AMQP table can hold."""

from datetime import UTC

from hypothesis import strategies as st

ANY_TEXT = st.text(alphabet=st.characters(codec=None))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | ANY_TEXT
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
)
KEYS = ANY_TEXT | st.binary(max_size=5) | st.sampled_from(["$bytes", "$table", "$", "plain"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
