// A step of the pair style: where LAMMPS' atoms are now to the engine, its results to LAMMPS.
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
  const int num_all = atom->nlocal + atom->nghost;
  if (num_tally_compute > 0) agree("computes of the kind */tally see pairs only, and the potential has none");
  find_trial();
  take_changes();
  if (!move_points()) {
    refuse_trial();
    return;
  }
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
  const std::string problem = find_not_finite(own_forces);
  if (is_trial_ ? is_any(!problem.empty()) : (agree(problem), false)) {
    refuse_trial();
    return;
  }
  tally();
  if (is_committee() && stop_above_ > 0) stop_where_models_disagree();
}

// Moves the models' atoms to where they are now. False: in a trial two of them are too close; else that is an error.
bool PairEquipot::move_points() {
  const double nothing[3] = {0, 0, 0};
  std::string problem;
  bool is_close = false;
  for (Model& model : models_) {
    int64_t pair[2] = {-1, -1};
    try {
      const double distance = model.engine->update(listed_all_ > 0 ? atom->x[0] : nothing, num_threads(), pair);
      if (distance < min_distance_) {
        is_close = true;
        if (!is_trial_)
          problem = fmt::format("atoms {} and {} are {:.4g} Angstrom apart at step {}, nearer than min_distance {}",
                                name(int(pair[0])), name(int(pair[1])), distance, update->ntimestep, min_distance_);
      }
    } catch (const std::exception& failure) {
      problem = failure.what();
    }
  }
  agree(problem);
  return !is_trial_ || !is_any(is_close);
}

std::string PairEquipot::name(int i) const { return fmt::format("{}", atom->tag[i]); }

// Virials of atoms add up over the models.
void PairEquipot::evaluate(Model& model, double* forces) {
  double nothing[9], virial[9];
  const double share = 1.0 / double(models_.size());
  node_energy_.resize(atom_point_.size());
  places_ = model.places;
  try {
    model.engine->run(num_threads(), node_energy_.data(),
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
    for (size_t n = 0; n < total_energy_.size(); ++n) eng_vdwl += total_energy_[n] - (is_trial_ ? lone_energy_[size_t(species_[n])] : 0.0);
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

}  // namespace LAMMPS_NS
