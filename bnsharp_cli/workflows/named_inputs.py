"""What options declare that name a network, data or a loss: completion, and what is in such a name.

Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bnsharp_cli.io.data.forms import is_named_loss, is_plain_data
from bnsharp_cli.io.networks.forms import is_built_by_name
from bnsharp_cli.workflows.completion import offered_data, offered_losses, offered_networks
from bnsharp_cli.workflows.input_files import located

NETWORK_NAMED: Mapping[str, Any] = MappingProxyType(
    {"complete": offered_networks, "harmless": is_built_by_name, "located": located}
)
DATA_NAMED: Mapping[str, Any] = MappingProxyType(
    {"complete": offered_data, "harmless": is_plain_data, "located": located}
)
LOSS_NAMED: Mapping[str, Any] = MappingProxyType(
    {"complete": offered_losses, "harmless": is_named_loss, "located": located}
)
