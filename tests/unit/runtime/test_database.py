"""What an engine lets others see."""

from sqlalchemy.exc import DBAPIError

from runtime.database import make_engine
from runtime.settings import Settings


def test_an_error_of_a_statement_does_not_show_its_parameters() -> None:
    engine = make_engine(Settings(database_url="postgresql://nobody@127.0.0.1/none", amqp_url="amqp://nobody/"), "test")
    hidden = engine.sync_engine.hide_parameters

    error = DBAPIError("INSERT", {"email": "frederique@blondel.example"}, Exception("no"), hide_parameters=hidden)

    assert "frederique" not in str(error)
