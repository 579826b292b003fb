"""The order of samples against torch.randperm."""
import pytest
import torch
from parity_support import run_tool


@pytest.mark.parametrize("count", [1, 2, 3, 20, 257, 7500])
@pytest.mark.parametrize("seed", [0, 1, 42, 43, 2**31, 2**32 - 1])
def test_permutation_equals_torch(count, seed):
    ours = [int(line) for line in run_tool("randperm", count, seed).split()]
    theirs = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    assert ours == theirs
