from lab.sandbox.sap.csrf import CsrfTokens


def test_a_token_is_valid_in_its_own_session_only() -> None:
    tokens = CsrfTokens()
    mine, other = tokens.issue(None), tokens.issue(None)
    assert tokens.spend(mine.cookie, mine.token)
    assert not tokens.spend(other.cookie, mine.token)
    assert not tokens.spend(None, mine.token)
    assert not tokens.spend(mine.cookie, None)


def test_a_live_session_keeps_its_token() -> None:
    tokens = CsrfTokens()
    first = tokens.issue(None)
    assert tokens.issue(first.cookie) is first


def test_a_token_expires_by_age() -> None:
    now = [0.0]
    tokens = CsrfTokens(lifetime_seconds=10, clock=lambda: now[0])
    session = tokens.issue(None)
    now[0] = 9.9
    assert tokens.spend(session.cookie, session.token)
    now[0] = 10.0
    assert not tokens.spend(session.cookie, session.token)
    assert tokens.issue(session.cookie).token != session.token


def test_a_token_expires_by_use() -> None:
    tokens = CsrfTokens(uses=2)
    session = tokens.issue(None)
    assert [tokens.spend(session.cookie, session.token) for _ in range(3)] == [True, True, False]
