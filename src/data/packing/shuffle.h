// The order of samples in an epoch, equal to torch.randperm on a CPU generator.
#pragma once

#include <cstdint>
#include <vector>

namespace shori {

// torch.randperm(count, generator=torch.Generator().manual_seed(seed)): for i = 0 .. count - 2 swap a[i] and a[i +
// next32() mod (count - i)] with mt19937 seeded by the low 32 bits of `seed`. Epoch e (from 0) of a run uses seed + e,
// as accelerate's SeedableRandomSampler does. count < 2^32 / 20, where torch would begin to draw 64 bits.
std::vector<std::uint32_t> random_permutation(std::uint64_t count, std::uint64_t seed);

}  // namespace shori
