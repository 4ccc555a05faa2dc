"""The fixture ``bnsharp`` of pytest, which asserts that a network is not sharper than another one.

pytest imports this file at every start, so it imports nothing heavy: torch comes with the first use of the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bnsharp_cli.integrations.network_assertions import NetworkAssertions


@pytest.fixture(scope="session")
def bnsharp() -> NetworkAssertions:
    """Measures networks, compares them, and asserts that one is invariant or not sharper than another one."""
    from bnsharp_cli.integrations.network_assertions import NetworkAssertions

    return NetworkAssertions()
