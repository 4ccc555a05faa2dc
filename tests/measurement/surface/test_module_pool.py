"""Copies of a network: private ones that leave the user's alone, and as many as run at the same time."""

from __future__ import annotations

import torch
from torch import nn

from bnsharp_cli.measurement.surface.module_pool import ModulePool, private_pair, unwrapped
from tests.cases import mlp_bn


def test_a_private_copy_is_in_eval_mode_and_shares_the_weights() -> None:
    module = mlp_bn().train()
    copied, _ = private_pair(module, None, "cpu")
    assert copied is not module
    assert module.training
    assert not any(part.training for part in copied.modules())
    for own, users in zip(copied.parameters(), module.parameters(), strict=True):
        assert own is not users
        assert own.data_ptr() == users.data_ptr()
        assert users.requires_grad
        assert not own.requires_grad


def test_each_of_several_users_has_a_module_of_its_own_with_the_same_tensors() -> None:
    module = mlp_bn()
    pool = ModulePool(module)
    with pool.copy() as first, pool.copy() as second:
        assert len({id(module), id(first.module), id(second.module)}) == 3
        for network in (first.module, second.module):
            tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
            assert all(tensors[name] is tensor for name, tensor in module.named_parameters())
            assert all(tensors[name] is tensor for name, tensor in module.named_buffers())
    with pool.copy() as again:
        assert again in (first, second)


def test_wrappers_are_taken_off_one_after_the_other() -> None:
    network = nn.Linear(2, 2)
    assert unwrapped(network) is network
    assert unwrapped(nn.DataParallel(torch.compile(network))) is network
