// A step of the pair style: LAMMPS' neighbour list to the engine, its results to LAMMPS, and rows between ranks.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair_equipot.h"
#include "update.h"

namespace LAMMPS_NS {

void PairEquipot::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (num_tally_compute > 0)
    error->all(FLERR, "pair_style equipot has no energies of pairs, which computes of style */tally sum up; for the heat "
                      "flux give `compute ID all centroid/stress/atom NULL virial` to compute heat/flux");
  const int num_all = atom->nlocal + atom->nghost;
  if (neighbor->ago == 0 || listed_local_ != atom->nlocal || listed_all_ != num_all) take_list();

  for (Model& model : models_) agree(problem_of(model));
  node_virial_.assign(vflag_atom ? size_t(9 * num_all) : 0, 0.0);
  centroid_virial_.assign(cvflag_atom ? size_t(9 * num_all) : 0, 0.0);
  total_energy_.assign(atom_point_.size(), 0.0);
  std::fill(virial_, virial_ + 9, 0.0);
  double* own_forces = num_all > 0 ? atom->f[0] : nullptr;
  for (Model& model : models_) {
    if (is_committee()) model.forces.assign(size_t(3 * num_all), 0.0);
    evaluate(model, is_committee() ? model.forces.data() : own_forces);
  }
  if (is_committee()) combine_committee();
  agree(find_not_finite(own_forces));
  tally();
  if (is_committee() && stop_above_ > 0) stop_where_models_disagree();
}

// LAMMPS has built its neighbour list: atoms, images and pairs in the engine's terms.
void PairEquipot::take_list() {
  listed_local_ = atom->nlocal;
  listed_all_ = atom->nlocal + atom->nghost;
  number_nodes();
  // Lists of several styles may reach further than this one needs.
  const double reach = cutoff_ + neighbor->skin, reach_squared = reach * reach;
  start_.assign(1, 0);
  point_.clear();
  for (const int32_t i : atom_point_) {
    const double* here = atom->x[i];
    for (int k = 0; k < list->numneigh[i]; ++k) {
      const int j = list->firstneigh[i][k] & NEIGHMASK;
      if (point_node_[size_t(j)] < 0) continue;
      const double *there = atom->x[j], dx = there[0] - here[0], dy = there[1] - here[1], dz = there[2] - here[2];
      if (dx * dx + dy * dy + dz * dz < reach_squared) point_.push_back(j);
    }
    start_.push_back(int64_t(point_.size()));
  }
  std::string problem;
  const double nothing[3] = {0, 0, 0};
  for (Model& model : models_) {
    try {
      model.places = model.engine->set_points(species_, atom_point_, point_node_, start_, point_,
                                              listed_all_ > 0 ? atom->x[0] : nothing);
    } catch (const std::exception& failure) {
      problem = failure.what();
    }
  }
  agree(problem);
}

// Nodes: the listed atoms, then one for each remote atom, whose image with the lowest number stands for it.
void PairEquipot::number_nodes() {
  point_node_.assign(size_t(listed_all_), -1);
  is_filled_.assign(size_t(listed_all_), 0);
  species_.clear();
  atom_point_.clear();
  for (int k = 0; k < list->inum; ++k) {
    const int i = list->ilist[k];
    if (map[atom->type[i]] < 0) continue;
    point_node_[size_t(i)] = int32_t(species_.size());
    species_.push_back(map[atom->type[i]]);
    atom_point_.push_back(i);
  }
  for (int i = atom->nlocal; i < listed_all_; ++i) {
    if (map[atom->type[i]] < 0) continue;
    const int first = atom->map(atom->tag[i]);
    if (first != i) {
      point_node_[size_t(i)] = point_node_[size_t(first)];
    } else {
      point_node_[size_t(i)] = int32_t(species_.size());
      species_.push_back(map[atom->type[i]]);
      is_filled_[size_t(i)] = 1;
    }
  }
}

// Moves a model's atoms to where they are now; a sentence where two are too close.
std::string PairEquipot::problem_of(Model& model) {
  const double nothing[3] = {0, 0, 0};
  int64_t pair[2] = {-1, -1};
  try {
    const double distance = model.engine->update(listed_all_ > 0 ? atom->x[0] : nothing,
                                                 num_threads_ > 0 ? num_threads_ : comm->nthreads, pair);
    if (distance < min_distance_)
      return fmt::format("atoms {} and {} are {:.4g} Angstrom apart at step {}, nearer than min_distance {}",
                         name(int(pair[0])), name(int(pair[1])), distance, update->ntimestep, min_distance_);
  } catch (const std::exception& failure) {
    return failure.what();
  }
  return "";
}

std::string PairEquipot::name(int i) const { return fmt::format("{}", atom->tag[i]); }

// Virials of atoms add up over the models.
void PairEquipot::evaluate(Model& model, double* forces) {
  double nothing[9], virial[9];
  const double share = 1.0 / double(models_.size());
  node_energy_.resize(atom_point_.size());
  places_ = model.places;
  try {
    model.engine->run(num_threads_ > 0 ? num_threads_ : comm->nthreads, node_energy_.data(),
                      forces != nullptr ? forces : nothing, virial, vflag_atom ? node_virial_.data() : nullptr,
                      cvflag_atom ? centroid_virial_.data() : nullptr, comm->nprocs > 1 ? &PairEquipot::exchange : nullptr,
                      this);
  } catch (const std::exception& failure) {
    // The others wait for rows: there is nothing to agree on any more.
    error->one(FLERR, "pair_style equipot: {}", failure.what());
  }
  for (size_t n = 0; n < node_energy_.size(); ++n) total_energy_[n] += share * node_energy_[n];
  for (int k = 0; k < 9; ++k) virial_[k] += share * virial[k];
}

// Energies and virials, to where LAMMPS wants them.
void PairEquipot::tally() {
  constexpr int order[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};  // LAMMPS: xx yy zz xy xz yz, and yx zx zy
  const double share = 1.0 / double(models_.size());
  if (eflag_global)
    for (const double energy : total_energy_) eng_vdwl += energy;
  if (eflag_atom)
    for (size_t n = 0; n < total_energy_.size(); ++n) eatom[atom_point_[n]] += total_energy_[n];
  if (vflag_global)
    for (int k = 0; k < 6; ++k) virial[k] += virial_[order[k]];
  if (vflag_atom)
    for (int i = 0; i < listed_all_; ++i)
      for (int k = 0; k < 6; ++k) vatom[i][k] += share * node_virial_[size_t(9 * i + order[k])];
  if (cvflag_atom)
    for (int i = 0; i < listed_all_; ++i)
      for (int k = 0; k < 9; ++k) cvatom[i][k] += share * centroid_virial_[size_t(9 * i + order[k])];
}

std::string PairEquipot::find_not_finite(const double* forces) const {
  double sum = 0;
  for (const double energy : total_energy_) sum += energy;
  for (int k = 0; k < 3 * listed_all_; ++k) sum += forces[k];
  if (std::isfinite(sum)) return "";
  for (size_t n = 0; n < total_energy_.size(); ++n)
    if (!std::isfinite(total_energy_[n]))
      return fmt::format("the energy of atom {} is not finite at step {}; the structure is far outside what the "
                         "potential was made for", name(atom_point_[n]), update->ntimestep);
  for (int i = 0; i < listed_all_; ++i)
    if (!std::isfinite(forces[3 * i] + forces[3 * i + 1] + forces[3 * i + 2]))
      return fmt::format("the force on atom {} is not finite at step {}; the structure is far outside what the "
                         "potential was made for", name(i), update->ntimestep);
  return "";
}

// --- rows of features and gradients between ranks

void PairEquipot::exchange(void* self, void* rows, int64_t row_bytes) {
  static_cast<PairEquipot*>(self)->exchange_rows(static_cast<char*>(rows), row_bytes);
}

void PairEquipot::exchange_rows(char* rows, int64_t row_bytes) {
  const int64_t largest_part = comm_forward * int64_t(sizeof(double));
  rows_ = rows;
  row_bytes_ = row_bytes;
  for (part_begin_ = 0; part_begin_ < row_bytes; part_begin_ += largest_part) {
    part_bytes_ = std::min(largest_part, row_bytes - part_begin_);
    part_doubles_ = int((part_bytes_ + int64_t(sizeof(double)) - 1) / int64_t(sizeof(double)));
    if (has_exchange_)
      comm->forward_comm(this, part_doubles_);
    else  // for tests: the halo is silent
      for (size_t node = atom_point_.size(); node < species_.size(); ++node)
        std::memset(rows_ + places_[node] * row_bytes_ + part_begin_, 0, size_t(part_bytes_));
  }
}

int PairEquipot::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
  for (int k = 0; k < n; ++k) {
    const int32_t node = point_node_[size_t(list[k])];
    double* to = buffer + int64_t(k) * part_doubles_;
    to[part_doubles_ - 1] = 0.0;  // the part may end within a number
    if (node >= 0) std::memcpy(to, rows_ + places_[node] * row_bytes_ + part_begin_, size_t(part_bytes_));
  }
  return n * part_doubles_;
}

void PairEquipot::unpack_forward_comm(int n, int first, double* buffer) {
  for (int k = 0; k < n; ++k) {
    if (!is_filled_[size_t(first + k)]) continue;
    const int64_t row = places_[point_node_[size_t(first + k)]];
    std::memcpy(rows_ + row * row_bytes_ + part_begin_, buffer + int64_t(k) * part_doubles_, size_t(part_bytes_));
  }
}

// Forces of one member of a committee on ghosts, to their owners.
int PairEquipot::pack_reverse_comm(int n, int first, double* buffer) {
  std::memcpy(buffer, reverse_forces_ + 3 * int64_t(first), 3 * size_t(n) * sizeof(double));
  return 3 * n;
}

void PairEquipot::unpack_reverse_comm(int n, int* list, double* buffer) {
  for (int k = 0; k < n; ++k)
    for (int a = 0; a < 3; ++a) reverse_forces_[3 * int64_t(list[k]) + a] += buffer[3 * k + a];
}

}  // namespace LAMMPS_NS
