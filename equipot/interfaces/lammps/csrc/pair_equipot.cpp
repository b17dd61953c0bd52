// The pair style's commands: settings, models, and what it asks of an input.
#include "pair_equipot.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "model_document.hpp"
#include "modify.h"
#include "neighbor.h"
#include "update.h"

namespace LAMMPS_NS {
namespace {

// Numbers of one atom in one message. Constant, and set by the constructor: pair_style hybrid asks for it before the
// models are known. Longer rows go in parts.
constexpr int message_doubles = 64;

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value ? value : otherwise;
}

// Comm has no function that gives it.
struct BorderGroup : Comm {
  static int of(const Comm* comm) { return comm->*(&BorderGroup::bordergroup); }
};

}  // namespace

PairEquipot::PairEquipot(LAMMPS* lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;  // the virial comes from the edges, which stays right where images are merged
  centroidstressflag = CENTROID_AVAIL;  // sum_i (r_i - r_j) (x) dU_i/dr_j, with which the heat flux is right
  comm_forward = message_doubles;
  comm_reverse = 3;
}

PairEquipot::~PairEquipot() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  delete[] pvector;
}

// pair_style equipot [dtype float32|float64] [threads N] [min_distance A] [stop_above LIMIT] [stop_file FILE]
void PairEquipot::settings(int narg, char** arg) {
  for (int k = 0; k < narg; k += 2) {
    const std::string key = arg[k];
    if (k + 1 == narg) error->all(FLERR, "pair_style equipot: {} needs a value", key);
    const std::string value = arg[k + 1];
    if (key == "dtype") {
      if (value != "float32" && value != "float64")
        error->all(FLERR, "pair_style equipot: dtype is float32 or float64, not {}", value);
      dtype_ = value;
    } else if (key == "threads") {
      num_threads_ = utils::inumeric(FLERR, value, false, lmp);
      if (num_threads_ < 1) error->all(FLERR, "pair_style equipot: threads is a whole number above zero, not {}", value);
    } else if (key == "min_distance") {
      min_distance_ = utils::numeric(FLERR, value, false, lmp);
      if (min_distance_ < 0) error->all(FLERR, "pair_style equipot: min_distance is not negative (found {})", value);
    } else if (key == "stop_above") {
      stop_above_ = utils::numeric(FLERR, value, false, lmp);
      if (!(stop_above_ > 0))
        error->all(FLERR, "pair_style equipot: stop_above is a force above zero in eV/Angstrom, not {}", value);
    } else if (key == "stop_file") {
      stop_file_ = value;
    } else if (key == "exchange") {
      has_exchange_ = utils::logical(FLERR, value, false, lmp) != 0;
      if (!has_exchange_)
        error->warning(FLERR, "pair_style equipot: without the exchange of features results are WRONG on several ranks; "
                              "this is for tests only");
    } else {
      error->all(FLERR, "pair_style equipot has no option {}; it has dtype, threads, min_distance, stop_above, stop_file",
                 key);
    }
  }
}

void PairEquipot::allocate() {
  const int n = atom->ntypes;
  allocated = 1;
  memory->create(setflag, n + 1, n + 1, "pair:setflag");
  memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
  for (int i = 1; i <= n; ++i)
    for (int j = 1; j <= n; ++j) setflag[i][j] = 0;
  map = new int[n + 1];
}

// pair_coeff * * MODEL [MODEL ...] ELEMENT ... (one for each atom type, NULL for types of other styles)
void PairEquipot::coeff(int narg, char** arg) {
  const int num_types = atom->ntypes, num_models = narg - 2 - num_types;
  if (num_models < 1 || std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_style equipot: expected `pair_coeff * * MODEL [MODEL ...]` (.eqp, or .eqd of `equipot lammps export`) and then one element for each "
               "of the {} atom types, found {} words after pair_coeff",
               num_types, narg);
  if (!allocated) allocate();
  map_element2type(num_types, arg + 2 + num_models);
  load({arg + 2, arg + 2 + num_models});
}

// Reads the models on one rank and hands them to all.
void PairEquipot::load(const std::vector<std::string>& files) {
  const std::vector<std::string> symbols(elements, elements + nelements);
  models_.clear();
  cutoff_ = 0;
  lone_energy_.assign(symbols.size(), 0.0);
  std::string problem;
  std::shared_ptr<const equipot_lammps::EngineLibrary> library;
  try {
    library = std::make_shared<equipot_lammps::EngineLibrary>(
        std::vector<std::string>{from_environment("EQUIPOT_KERNELS_FOLDER", ""), equipot_lammps::own_folder(),
                                 EQUIPOT_KERNELS_FOLDER});
  } catch (const std::exception& failure) {
    problem = failure.what();
  }
  agree(problem);
  for (const std::string& file : files) {
    std::string bytes = shared_bytes(file, symbols);
    problem.clear();
    models_.emplace_back();
    Model& model = models_.back();
    try {
      auto unpacked = equipot_lammps::unpack_model(std::move(bytes), symbols);
      model.engine = std::make_unique<Engine>(library, unpacked.document);
      model.species = std::move(unpacked.species);
      cutoff_ = std::max(cutoff_, model.engine->cutoff());
      const std::vector<double> lone = model.engine->lone_energies();
      for (size_t k = 0; k < symbols.size(); ++k)
        lone_energy_[k] += lone.at(size_t(model.species[k])) / double(files.size());
    } catch (const std::exception& failure) {
      problem = file + ": " + failure.what();
    }
    agree(problem);
  }
  if (comm->me == 0)
    utils::logmesg(lmp, "  kernels {}, {} thread{} a rank\n", library->instruction_set(), num_threads(),
                   num_threads() > 1 ? "s" : "");
  if (is_committee()) {
    delete[] pvector;
    nextra = 1;  // for `compute pair`: the largest deviation
    pvector = new double[1]{0.0};
  }
}

// A model as its file, or Python, gives it to the first rank; the same on all ranks.
std::string PairEquipot::shared_bytes(const std::string& file, const std::vector<std::string>& symbols) {
  std::string text, problem;
  if (comm->me == 0) {
    try {
      auto model = equipot_lammps::read_model(from_environment("EQUIPOT_PYTHON", EQUIPOT_PYTHON), file, symbols, dtype_);
      text = std::move(model.bytes);
      utils::logmesg(lmp, "equipot {}\n", model.description);
    } catch (const std::exception& failure) {
      problem = failure.what();
    }
  }
  agree(problem);
  bigint size = bigint(text.size());
  MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
  text.resize(size_t(size));
  constexpr bigint part = 1 << 28;  // MPI counts are int
  for (bigint begin = 0; begin < size; begin += part)
    MPI_Bcast(&text[size_t(begin)], int(std::min(part, size - begin)), MPI_BYTE, 0, world);
  return text;
}

void PairEquipot::init_style() {
  check_environment();
  check_heat_flux();
  check_monte_carlo();
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

// An input that would give wrong forces without a word is refused.
void PairEquipot::check_environment() const {
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style equipot: the potential is in eV and Angstrom; write `units metal` (found units {})",
               update->unit_style);
  if (!force->newton_pair) error->all(FLERR, "pair_style equipot needs `newton on`: forces on ghosts go to their owners");
  if (!atom->tag_enable) error->all(FLERR, "pair_style equipot needs atom IDs: leave `atom_modify id yes` as it is");
  if (atom->map_style == Atom::MAP_NONE)
    error->all(FLERR, "pair_style equipot needs to find atoms by ID: write `atom_modify map yes` before the box is made");
  if (neighbor->includegroup != 0)
    error->all(FLERR, "pair_style equipot: `neigh_modify include` leaves atoms without neighbours, and the energy of every "
                      "atom depends on them; use `fix setforce 0 0 0` or leave atoms out of the integration");
  if (BorderGroup::of(comm) != 0)
    error->all(FLERR, "pair_style equipot: `comm_modify group` leaves out ghosts that the potential needs");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k <= 3; ++k)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        error->all(FLERR, "pair_style equipot: bonded pairs are left out of the neighbour list; write "
                          "`special_bonds lj/coul 1 1 1`");
}

int PairEquipot::num_threads() const { return num_threads_ > 0 ? num_threads_ : comm->nthreads; }

// Half of each edge's virial at each end is not what moves the energy of atoms whose features come from further away.
// Which stress a compute heat/flux was given cannot be seen from here.
void PairEquipot::check_heat_flux() const {
  if (modify->get_compute_by_style("^heat/flux$").empty()) return;
  if (modify->get_compute_by_style("^centroid/stress/atom$").empty())
    error->all(FLERR, "pair_style equipot: compute heat/flux with compute stress/atom is not the heat flux of a "
                      "message-passing potential; give it `compute ID all centroid/stress/atom NULL virial` instead");
  if (comm->me == 0 && !modify->get_compute_by_style("^stress/atom$").empty())
    error->warning(FLERR, "pair_style equipot: compute heat/flux is right with compute centroid/stress/atom only, not with "
                          "the compute stress/atom that is there too");
}

double PairEquipot::init_one(int, int) { return cutoff_; }

// Says the first rank's problem on all ranks and stops them; returns where no rank has any.
void PairEquipot::agree(const std::string& problem) const {
  const int mine = problem.empty() ? comm->nprocs : comm->me;
  int first = mine;
  if (comm->nprocs > 1) MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return;
  std::string text = problem;
  int size = int(text.size());
  MPI_Bcast(&size, 1, MPI_INT, first, world);
  text.resize(size_t(size));
  MPI_Bcast(&text[0], size, MPI_CHAR, first, world);
  error->all(FLERR, "pair_style equipot: {}", text);
}

// For `fix pair`: `fix ID all pair N equipot deviation 0`.
void* PairEquipot::extract_peratom(const char* name, int& columns) {
  columns = 0;
  if (std::strcmp(name, "deviation") != 0 || !is_committee()) return nullptr;
  deviation_.resize(std::max<size_t>(deviation_.size(), size_t(std::max(1, atom->nmax))), 0.0);
  return deviation_.data();
}

double PairEquipot::memory_usage() {
  double bytes = Pair::memory_usage();
  for (const Model& model : models_)
    if (model.engine) bytes += double(model.engine->bytes()) + double(model.forces.capacity() * sizeof(double));
  return bytes + double((species_.capacity() + atom_point_.capacity() + point_node_.capacity() + point_.capacity()) *
                            sizeof(int32_t) +
                        start_.capacity() * sizeof(int64_t) +
                        (node_virial_.capacity() + centroid_virial_.capacity()) * sizeof(double));
}

}  // namespace LAMMPS_NS
