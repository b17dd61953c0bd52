// Atoms in the order of their species, so that what is a species' own is fetched once for all of its atoms.
#pragma once

#include <cstdint>
#include <vector>

namespace equipot {

struct SpeciesOrder {
  std::vector<int64_t> atoms;  // sorted by species, in the given order within one
  std::vector<int64_t> first;  // num_species + 1; atoms[first[z] .. first[z + 1]) are of species z
};

// False if a species is out of range.
inline bool sort_by_species(int64_t num_atoms, int64_t num_species, const int64_t* species, SpeciesOrder& order) {
  order.atoms.resize(size_t(num_atoms));
  order.first.assign(size_t(num_species) + 1, 0);
  for (int64_t n = 0; n < num_atoms; ++n) {
    if (species[n] < 0 || species[n] >= num_species) return false;
    ++order.first[size_t(species[n]) + 1];
  }
  for (int64_t z = 0; z < num_species; ++z) order.first[size_t(z) + 1] += order.first[size_t(z)];
  std::vector<int64_t> next(order.first);
  for (int64_t n = 0; n < num_atoms; ++n) order.atoms[size_t(next[size_t(species[n])]++)] = n;
  return true;
}

}  // namespace equipot
