"""A group of tasks fails with one error where all its errors are of one kind."""

import asyncio

import pytest

from runtime.task_groups import first_error


async def fail(error: Exception) -> None:
    raise error


async def failing(*errors: Exception) -> None:
    with first_error(OSError):
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(fail(error))


@pytest.mark.parametrize("errors", [[OSError("first")], [ConnectionError("first"), OSError("second")]])
async def test_the_first_error_comes_out_by_itself_and_the_group_is_its_cause(errors: list[Exception]) -> None:
    with pytest.raises(OSError, match=r"^first$") as raised:
        await failing(*errors)
    assert isinstance(raised.value.__cause__, ExceptionGroup)


async def test_an_error_in_a_group_within_the_group_is_found() -> None:
    with pytest.raises(OSError, match=r"^inner$"):
        await failing(ExceptionGroup("of another group", [OSError("inner")]))


async def test_errors_of_other_kinds_keep_the_whole_group() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await failing(OSError("first"), ValueError("second"))
    assert [str(error) for error in raised.value.exceptions] == ["first", "second"]
