"""What a machine says of ports it tried is a stranger's word."""

from __future__ import annotations

import pytest

from shoal.check.reach import Reach, read_probe


@pytest.mark.parametrize("port", ["²", "9" * 5000, "-1", "1e3", "0x1", ""])
def test_a_port_that_is_none_is_no_answer(port: str) -> None:
    found = read_probe(f"mark {port} 0\nmark 22 0\nmark 5000 1 Connection refused\n", "mark")
    assert found == {22: Reach.OPEN, 5000: Reach.REFUSED}
