// Several models at once: mean forces, how far the models are apart on each atom, and stopping where that is too far.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "pair_equipot.h"
#include "timer.h"
#include "update.h"

namespace LAMMPS_NS {

// Forces become the mean; an atom's deviation is sqrt(mean_k |F_k - mean F|^2).
// Source: Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), Eq. 5.
void PairEquipot::combine_committee() {
  for (Model& model : models_) {
    reverse_forces_ = model.forces.data();
    comm->reverse_comm(this, 3);
  }
  const double share = 1.0 / double(models_.size());
  deviation_.resize(size_t(std::max(1, atom->nmax)));
  double largest = 0;
  for (int i = 0; i < atom->nlocal; ++i) {
    double mean[3] = {}, square = 0;
    for (const Model& model : models_)
      for (int a = 0; a < 3; ++a) mean[a] += share * model.forces[size_t(3 * i + a)];
    for (const Model& model : models_)
      for (int a = 0; a < 3; ++a) square += share * std::pow(model.forces[size_t(3 * i + a)] - mean[a], 2);
    for (int a = 0; a < 3; ++a) atom->f[i][a] += mean[a];
    deviation_[size_t(i)] = std::sqrt(square);
    largest = std::max(largest, deviation_[size_t(i)]);
  }
  MPI_Allreduce(&largest, &largest_deviation_, 1, MPI_DOUBLE, MPI_MAX, world);
  pvector[0] = comm->me == 0 ? largest_deviation_ : 0.0;  // `compute pair` sums over ranks
}

// Writes the frame and lets the run come to its end; the input goes on after it, and later runs stop at once.
void PairEquipot::stop_where_models_disagree() {
  if (!(largest_deviation_ > stop_above_) || last_frame_ == update->ntimestep) return;
  last_frame_ = update->ntimestep;
  write_frame(stop_file_);
  if (comm->me == 0)
    utils::logmesg(lmp,
                   "equipot: at step {} the models' forces on an atom deviate by {:.4g} eV/Angstrom, more than stop_above {}; "
                   "the frame was added to {}, and the run stops, as later ones do until `timer timeout off`\n",
                   update->ntimestep, largest_deviation_, stop_above_, stop_file_);
  timer->force_timeout();
}

// Rows of `width` numbers of all ranks, on the first one.
template <class Value>
std::vector<Value> PairEquipot::gathered(const std::vector<Value>& mine, int width) const {
  std::vector<int> counts(size_t(comm->nprocs)), begins(size_t(comm->nprocs));
  const int count = int(mine.size() * sizeof(Value));
  MPI_Gather(&count, 1, MPI_INT, counts.data(), 1, MPI_INT, 0, world);
  for (int rank = 1; rank < comm->nprocs; ++rank)
    begins[size_t(rank)] = begins[size_t(rank - 1)] + counts[size_t(rank - 1)];
  std::vector<Value> all(comm->me == 0 ? size_t(atom->natoms) * size_t(width) : 0);
  MPI_Gatherv(mine.data(), count, MPI_BYTE, all.data(), counts.data(), begins.data(), MPI_BYTE, 0, world);
  return all;
}

// Adds a frame to an extended XYZ file: positions, IDs and deviations, which `equipot data check` and ASE read.
void PairEquipot::write_frame(const std::string& path) {
  std::vector<double> rows;  // x, y, z, deviation
  std::vector<tagint> numbers;  // ID, type
  for (int i = 0; i < atom->nlocal; ++i) {
    rows.insert(rows.end(), {atom->x[i][0], atom->x[i][1], atom->x[i][2], deviation_[size_t(i)]});
    numbers.insert(numbers.end(), {atom->tag[i], tagint(atom->type[i])});
  }
  rows = gathered(rows, 4);
  numbers = gathered(numbers, 2);
  std::string problem;
  if (comm->me == 0) {
    std::string text = fmt::format("{}\n", numbers.size() / 2);
    const double *h = domain->h, *low = domain->boxlo;  // h: xx, yy, zz, yz, xz, xy of the box vectors
    text += fmt::format("Lattice=\"{:.10f} 0 0 {:.10f} {:.10f} 0 {:.10f} {:.10f} {:.10f}\" Origin=\"{:.10f} {:.10f} {:.10f}\" "
                        "Properties=species:S:1:pos:R:3:id:I:1:force_deviation:R:1 pbc=\"{} {} {}\" step={}\n",
                        h[0], h[5], h[1], h[4], h[3], h[2], low[0], low[1], low[2], domain->xperiodic ? "T" : "F",
                        domain->yperiodic ? "T" : "F", domain->zperiodic ? "T" : "F", update->ntimestep);
    for (size_t k = 0; k < numbers.size() / 2; ++k) {
      const int element = map[numbers[2 * k + 1]];
      text += fmt::format("{} {:.10f} {:.10f} {:.10f} {} {:.6g}\n", element < 0 ? "X" : elements[element], rows[4 * k],
                          rows[4 * k + 1], rows[4 * k + 2], numbers[2 * k], rows[4 * k + 3]);
    }
    std::FILE* file = std::fopen(path.c_str(), "a");
    if (file == nullptr || std::fwrite(text.data(), 1, text.size(), file) != text.size())
      problem = "the frame could not be written to " + path;
    if (file != nullptr && std::fclose(file) != 0) problem = "the frame could not be written to " + path;
  }
  agree(problem);
}

}  // namespace LAMMPS_NS
