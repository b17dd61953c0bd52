// LAMMPS' neighbour list in the engine's terms: atoms, images, species and pairs, and what may not be missing from it.
#include <algorithm>
#include <exception>

#include "atom.h"
#include "comm.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair_equipot.h"

namespace LAMMPS_NS {

int PairEquipot::num_all() const { return atom->nlocal + atom->nghost; }

// Whether an atom (or image) is one of the potential's.
bool PairEquipot::is_known(int i) const {
  return map[types_[size_t(i)]] >= 0 && (atom->mask[i] & absent_bits_) == 0;
}

// Takes the list in where it or the atoms' types have changed on any rank. Types change between builds of the list too
// (fix sgcmc, fix atom/swap, fix set), and not every fix tells the ranks that hold images of an atom.
void PairEquipot::take_changes() {
  const bool is_rebuilt = neighbor->ago == 0;
  const bool has_other_atoms = listed_local_ != atom->nlocal || listed_all_ != num_all();
  const bool is_changed =
      is_rebuilt || has_other_atoms || !std::equal(types_.begin(), types_.begin() + listed_local_, atom->type);
  if (!is_any(is_changed)) return;
  std::string problem;
  if (list == nullptr)
    problem = "LAMMPS has no neighbour list for it yet: leave `pre no` out of the run command";
  else if (!is_rebuilt && has_other_atoms)
    problem = "atoms have come or gone since LAMMPS built its neighbour list; leave `pre no` out of the run command";
  agree(problem);
  read_types();
  agree(find_missing_pairs());
  number_nodes();
  agree(find_missing_atoms());
  number_pairs(is_rebuilt);
  agree(hand_over());
}

// Types of the owned atoms, and those of images from their owners.
void PairEquipot::read_types() {
  listed_local_ = atom->nlocal;
  listed_all_ = num_all();
  types_.assign(size_t(listed_all_), 0);
  std::copy_n(atom->type, listed_local_, types_.begin());
  message_ = Message::types;
  comm->forward_comm(this, 1);
  message_ = Message::rows;
}

// Pairs of atoms that LAMMPS leaves out of the list by its settings.
std::string PairEquipot::find_missing_pairs() {
  absent_bits_ = 0;
  if (neighbor->nex_type + neighbor->nex_mol > 0 || !find_absent_groups(absent_bits_))
    return "`neigh_modify exclude` takes neighbours away that the potential needs; use `fix setforce 0 0 0` or leave atoms "
           "out of the integration to keep them still";
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j)
      if (map[i] >= 0 && map[j] >= 0 && list->ijskip != nullptr && (list->iskip[i] || list->ijskip[i][j]))
        return fmt::format("the pairs of types {} and {} are given to another pair style, and a potential of many bodies "
                           "needs those of all its types; write NULL for types it shall not know, or `hybrid/overlay`",
                           std::min(i, j), std::max(i, j));
  return "";
}

// Nodes: the listed atoms, then one for each remote atom, whose image with the lowest number stands for it.
void PairEquipot::number_nodes() {
  point_node_.assign(size_t(listed_all_), -1);
  is_filled_.assign(size_t(listed_all_), 0);
  species_.clear();
  atom_point_.clear();
  for (int k = 0; k < list->inum; ++k) {
    const int i = list->ilist[k];
    if (i >= listed_local_ || !is_known(i)) continue;
    point_node_[size_t(i)] = int32_t(species_.size());
    species_.push_back(map[types_[size_t(i)]]);
    atom_point_.push_back(i);
  }
  for (int i = listed_local_; i < listed_all_; ++i) {
    if (!is_known(i)) continue;
    const int first = atom->map(atom->tag[i]);
    if (first != i) {
      point_node_[size_t(i)] = point_node_[size_t(first)];
    } else {
      point_node_[size_t(i)] = int32_t(species_.size());
      species_.push_back(map[types_[size_t(i)]]);
      is_filled_[size_t(i)] = 1;
    }
  }
}

// Every owned atom that the potential knows has to be in the list, or it would have neither energy nor neighbours.
std::string PairEquipot::find_missing_atoms() const {
  for (int i = 0; i < listed_local_; ++i)
    if (is_known(i) && point_node_[size_t(i)] < 0)
      return fmt::format("atom {} of type {} is not in LAMMPS' neighbour list for this pair style; where its type has "
                         "changed from one of another style, the list has to be built anew: `neigh_modify every 1 delay 0 "
                         "check no`", name(i), types_[size_t(i)]);
  return "";
}

// Pairs from each atom. A list that is as old as the positions is cut to what this style needs, since lists of several
// styles may reach further; in an older one, atoms that are far apart now may come near before the next.
void PairEquipot::number_pairs(bool is_new) {
  const double reach = cutoff_ + neighbor->skin, reach_squared = reach * reach;
  start_.assign(1, 0);
  point_.clear();
  for (const int32_t i : atom_point_) {
    const double* here = atom->x[i];
    for (int k = 0; k < list->numneigh[i]; ++k) {
      const int j = list->firstneigh[i][k] & NEIGHMASK;
      if (point_node_[size_t(j)] < 0) continue;
      const double *there = atom->x[j], dx = there[0] - here[0], dy = there[1] - here[1], dz = there[2] - here[2];
      if (!is_new || dx * dx + dy * dy + dz * dz < reach_squared) point_.push_back(j);
    }
    start_.push_back(int64_t(point_.size()));
  }
}

// To the engines, each with its own numbers of species.
std::string PairEquipot::hand_over() {
  const double nothing[3] = {0, 0, 0};
  std::string problem;
  std::vector<int32_t> species(species_.size());
  for (Model& model : models_) {
    std::transform(species_.begin(), species_.end(), species.begin(),
                   [&](int32_t element) { return model.species[size_t(element)]; });
    try {
      model.places = model.engine->set_points(species, atom_point_, point_node_, start_, point_,
                                              listed_all_ > 0 ? atom->x[0] : nothing);
    } catch (const std::exception& failure) {
      problem = failure.what();
    }
  }
  return problem;
}

}  // namespace LAMMPS_NS
